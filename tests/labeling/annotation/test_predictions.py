"""Predictions: kept once each, shown to whom they may be, never to anybody for a hold-out document."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import predictions
from labeling.annotation.predictions import PredictionInput, RecordResult, record, visible_prediction
from labeling.models import Annotation, Document, Gold, Prediction
from labeling.review import queries as review_queries
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import count_differences
from tests.labeling.label_desk import Desk, make_desk
from tests.shared_rows import shared_fixture

RAW = '{"total_amount":1248.50,"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies"}'


@shared_fixture
def desk(db: None) -> Desk:
    made = make_desk()
    made.project.withheld_share = 0
    made.project.save()
    return made


def propose(desk: Desk, *documents: Document, raw: str = RAW, source: str = "prelabel-1", **more: Any) -> RecordResult:
    return record(
        project=desk.project,
        schema_version=desk.project.schema_version,
        proposals=[PredictionInput(document.pk, raw, **more) for document in documents],
        model="SmolLM2",
        source=source,
    )


def test_newest_prediction_in_schema_order_with_one_query(desk: Desk, django_assert_num_queries: Any) -> None:
    document = desk.document()
    propose(desk, document, raw='{"invoice_id":"old"}')
    assert propose(desk, document, source="prelabel-2", confidence={"total_amount": 0.5}) == RecordResult(written=1)
    version = desk.project.schema_version
    with django_assert_num_queries(1):
        prediction = visible_prediction(document, version)
    assert prediction is not None
    assert prediction.model == "SmolLM2"
    assert prediction.confidence == {"total_amount": 0.5}
    assert dumps(prediction.value).startswith('{"invoice_id":"A-1029","date"')
    assert "1248.50" in dumps(prediction.value)
    assert Prediction.objects.filter(valid=True).count() == 1, "the first lacks required fields"
    assert not Annotation.objects.exists()
    assert not Gold.objects.exists()


def test_source_has_one_prediction_per_document(desk: Desk) -> None:
    first, second = desk.document(), desk.document()
    propose(desk, first)
    again = propose(desk, first, second, raw='{"invoice_id":"other"}')
    assert again == RecordResult(written=1, repeated=1)
    prediction = visible_prediction(first, desk.project.schema_version)
    assert prediction is not None
    assert prediction.value["invoice_id"] == "A-1029"


def test_documents_of_the_holdout_and_of_another_project_get_no_prediction(desk: Desk) -> None:
    held, free = desk.document(), desk.document()
    Document.objects.filter(pk=held.pk).update(holdout=True)
    assert propose(desk, held, free) == RecordResult(written=1, held_out=1)
    assert not Prediction.objects.filter(document=held).exists()
    free.holdout = True
    assert visible_prediction(free, desk.project.schema_version) is None, "it moved to the hold-out since"
    assert propose(desk, make_desk(slug="other").document()) == RecordResult(gone=1)


def test_output_that_is_not_an_object_is_stored_and_hidden(desk: Desk) -> None:
    document, version = desk.document(), desk.project.schema_version
    for number, raw in enumerate(['{"invoice_id": "A', "[1, 2]", "null", "a \0 b \ud800", '{"a":1,"a":2}']):
        counted = propose(desk, document, raw=raw, source=f"prelabel-{number}", confidence={"invoice_id": 0.9})
        assert counted == RecordResult(written=1, unusable=1)
    assert visible_prediction(document, version) is None
    assert list(Prediction.objects.order_by("id").values_list("raw", flat=True))[:2] == ['{"invoice_id": "A', "[1, 2]"]
    propose(desk, document, raw='{"total_amount": "many"}', source="prelabel-invalid")
    assert visible_prediction(document, version) is not None, "an object is displayed, as invalid"
    assert not Prediction.objects.get(source="prelabel-invalid").valid


def test_withheld_predictions_are_per_document_and_hidden(desk: Desk) -> None:
    desk.project.withheld_share = 0.5
    documents = [desk.document() for _ in range(40)]
    propose(desk, *documents)
    propose(desk, *documents, source="prelabel-2")
    first, second = (
        set(Prediction.objects.filter(source=f"prelabel-{number}", withheld=True).values_list("document", flat=True))
        for number in (1, 2)
    )
    assert first == second, "another run does not change the draw"
    assert 8 <= len(first) <= 32
    version = desk.project.schema_version
    for document in documents:
        assert (visible_prediction(document, version) is None) == (document.pk in first)


def test_withheld_share_matches_the_setting(desk: Desk) -> None:
    desk.project.withheld_share = 0.05
    drawn = sum(predictions.is_withheld(desk.project, number) for number in range(20_000))
    assert 850 <= drawn <= 1150


def test_difference_compares_normalized_values(desk: Desk) -> None:
    compiled = desk.project.schema_version.compiled
    label = {"invoice_id": "A-1029", "date": "2026-01-14", "vendor": "Acme Supplies", "total_amount": Decimal("1248.5")}
    same = {**label, "total_amount": Decimal("1248.50"), "vendor": "Acme  Supplies"}
    changed, total = count_differences(compiled, label, same)
    assert (changed, total) == (0, 4)
    assert count_differences(compiled, label, {**label, "vendor": None}) == (1, 4)
    assert count_differences(compiled, {}, {}) == (0, 0)


# -- do people look ----------------------------------------------------------------------------------------------------


def submitted(desk: Desk, user: User, changed: int, *, seen: bool, fields: int = 4) -> None:
    """A submitted annotation that was held against a prediction."""
    document = desk.document()
    propose(desk, document)
    prediction = Prediction.objects.get(document=document)
    Prediction.objects.filter(pk=prediction.pk).update(withheld=not seen)
    Annotation.objects.create(
        project=desk.project,
        document=document,
        schema_version=desk.project.schema_version,
        user=user,
        submitted=True,
        submitted_at=document.created_at,
        prediction=prediction if seen else None,
        changed_fields=changed,
        predicted_fields=fields,
    )


def test_rate_of_acceptance_without_review(desk: Desk, django_assert_num_queries: Any) -> None:
    for number in range(12):
        submitted(desk, desk.ana, number % 2, seen=True)
        submitted(desk, desk.ana, number % 2, seen=False)
        submitted(desk, desk.ben, 0, seen=True)
        submitted(desk, desk.ben, number % 2, seen=False)
    with django_assert_num_queries(1):
        bias = review_queries.project_automation_bias(desk.project)
    ana, ben = bias.annotators
    assert (ana.shown.documents, ana.shown.changed, ana.shown.fields, ana.shown.unchanged) == (12, 6, 48, 0.5)
    assert ana.unreviewed_rate == 0.0
    assert (ben.unreviewed_rate, ben.shown.unchanged) == (1.0, 1.0)
    assert bias.overall.unreviewed_rate == pytest.approx(0.5)
    low, high = bias.overall.unreviewed_interval or (1, 0)
    assert low < 0.5 < high


def test_rate_is_undefined_without_corrections(desk: Desk) -> None:
    submitted(desk, desk.ana, 0, seen=True)
    submitted(desk, desk.ana, 0, seen=False)
    submitted(desk, desk.ben, 3, seen=False)  # ben began before there was a prediction, which does not count
    Prediction.objects.filter(document__annotations__user=desk.ben).update(withheld=False)
    (ana,) = review_queries.project_automation_bias(desk.project).annotators
    assert (ana.unreviewed_rate, ana.unreviewed_interval, ana.shown.share) == (None, None, 0)
