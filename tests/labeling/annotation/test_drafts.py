"""What a save keeps beside its value: the pre-label it began as, time per field, changes; and going back."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, AnnotationRevision, Document, Gold, Origin, Prediction
from slmstudio.errors import Refused
from tests.labeling.label_desk import GOLD_TEXT, Desk, change_schema, gold, make_desk, pre_label
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None) -> Desk:
    desk = make_desk()
    desk.project.withheld_share = 0
    desk.project.save(update_fields=["withheld_share"])
    return desk


def predicted(desk: Desk, document: Document, raw: str = GOLD_TEXT) -> Prediction:
    pre_label(document, raw)
    return Prediction.objects.get(document=document)


def save(document: Document, user: User, value: Any, base: int, **more: Any) -> annotation_services.SaveResult:
    return annotation_services.save_draft(
        document=document, user=user, value=value, evidence={}, base_version=base, **more
    )


def test_draft_stores_its_pre_label(desk: Desk) -> None:
    document = desk.document()
    prediction = predicted(desk, document)
    opened = annotation_services.open_document(document=document, user=desk.ana)
    assert (opened.filled_from, opened.value) == (prediction.pk, gold())
    first = save(document, desk.ana, {**gold(), "vendor": "Acme"}, 0, prediction=prediction.pk)
    annotation_services.submit(
        document=document, user=desk.ana, value={**gold(), "vendor": "Acme"}, evidence={}, base_version=first.version
    )
    kept = Annotation.objects.get()
    assert (kept.prediction, kept.changed_fields, kept.predicted_fields) == (prediction, 1, 4)
    assert Gold.objects.get().origin == Origin.PRELABELLED


def test_foreign_and_withheld_pre_labels_are_ignored(desk: Desk) -> None:
    document, other = desk.document(), desk.document()
    elsewhere, withheld = predicted(desk, other), predicted(desk, document)
    Prediction.objects.filter(pk=withheld.pk).update(withheld=True)
    for pk in (elsewhere.pk, withheld.pk, 2**31 - 1):
        save(document, desk.ana, gold(), Annotation.objects.count() and 1, prediction=pk)
    annotation_services.submit(document=document, user=desk.ana, value=gold(), evidence={}, base_version=3)
    kept = Annotation.objects.get()
    # It is held against the withheld one all the same.
    assert (kept.prediction, kept.changed_fields, kept.predicted_fields) == (None, 0, 4)
    assert Gold.objects.get().origin == Origin.HUMAN


def label(document: Document, user: User, base: int = 0, **more: Any) -> annotation_services.SaveResult:
    """A submit of a client that says nothing about pre-labels."""
    fresh = Document.objects.get(pk=document.pk)
    return annotation_services.submit(document=fresh, user=user, value=gold(), evidence={}, base_version=base, **more)


def test_client_cannot_hide_the_pre_label_origin(desk: Desk) -> None:
    document = desk.document()
    predicted(desk, document)
    label(document, desk.ana)
    assert Gold.objects.get().origin == Origin.PRELABELLED
    label(document, desk.ana, 1)
    label(document, desk.ben, 2)
    assert set(Annotation.objects.values_list("origin", flat=True)) == {Origin.PRELABELLED}


def test_label_without_visible_pre_label_is_human(desk: Desk) -> None:
    withheld, held_out, before = (desk.document() for _ in range(3))
    save(before, desk.ana, {"vendor": "Acme"}, 0)
    for document in (withheld, held_out, before):
        predicted(desk, document)
    Prediction.objects.filter(document=withheld).update(withheld=True)
    Document.objects.filter(pk=held_out.pk).update(holdout=True)
    for user in (desk.ana, desk.ben):
        opened = annotation_services.open_document(document=before, user=user)
        assert (opened.filled_from, opened.value) == (None, {"vendor": "Acme"}), "a begun document is not filled"
    label(withheld, desk.ana)
    label(held_out, desk.ana)
    label(before, desk.ana, 1)
    assert set(Gold.objects.values_list("document", "origin")) == {
        (document.pk, Origin.HUMAN) for document in (withheld, held_out, before)
    }


def test_pre_label_origin_survives_a_newer_schema(desk: Desk) -> None:
    document = desk.document()
    prediction = predicted(desk, document)
    label(document, desk.ana, prediction=prediction.pk)
    change_schema(desk.project, desk.owner, note={"type": ["string", "null"]})
    # The form of both is filled from the label under the older schema.
    assert annotation_services.open_document(document=document, user=desk.ben).value == gold()
    save(document, desk.ben, gold(), 0)
    label(document, desk.ana, 1)
    assert list(Gold.objects.values_list("origin", flat=True)) == [Origin.PRELABELLED] * 2
    assert Annotation.objects.get(user=desk.ben).origin == Origin.PRELABELLED


def test_pre_label_origin_is_per_annotator_with_overlap(desk: Desk) -> None:
    document = desk.document(overlap=2)
    predicted(desk, document)
    label(document, desk.ana)
    change_schema(desk.project, desk.owner, note={"type": ["string", "null"]})
    label(document, desk.ana)
    label(document, desk.ben)
    origins = Annotation.objects.filter(schema_version__number=2).values_list("user", "origin")
    assert set(origins) == {(desk.ana.pk, Origin.PRELABELLED), (desk.ben.pk, Origin.HUMAN)}


def test_tab_filled_before_schema_change_keeps_origin(desk: Desk) -> None:
    document = desk.document()
    prediction = predicted(desk, document)
    change_schema(desk.project, desk.owner, note={"type": ["string", "null"]})
    save(document, desk.ana, gold(), 0, schema_number=1, prediction=prediction.pk)
    label(document, desk.ana, 1)
    assert Gold.objects.get().origin == Origin.PRELABELLED


def test_field_seconds_add_up_and_invalid_ones_are_dropped(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, gold(), 0, seconds=5, field_seconds={"vendor": 2.5, "date": 1, "nonsense": 9})
    nonsense = {"vendor": 1.25, "date": -4, "invoice_id": float("nan"), "total_amount": 10_000}
    save(document, desk.ana, gold(), 1, seconds=3, field_seconds=nonsense)
    kept = Annotation.objects.get()
    assert (kept.seconds, kept.field_seconds) == (8, {"vendor": 3.8, "date": 1.0, "total_amount": 600.0})


def test_restore_adds_a_revision(desk: Desk) -> None:
    document = desk.document()
    annotation_services.submit(document=document, user=desk.ana, value=gold(), evidence={}, base_version=0)
    save(document, desk.ben, {**gold(), "vendor": "Acme"}, 1)
    old = AnnotationRevision.objects.get(number=1)
    saved = annotation_services.restore(document=document, user=desk.ben, revision_id=old.pk, base_version=2)
    assert (saved.version, saved.value, saved.submitted) == (3, gold(), False)
    steps = AnnotationRevision.objects.order_by("number").values_list("action", "user")
    assert list(steps) == [("submit", desk.ana.pk), ("draft", desk.ben.pk), ("restore", desk.ben.pk)]
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "revision"):
        annotation_services.restore(document=desk.document(), user=desk.ben, revision_id=old.pk, base_version=0)


def test_restore_merges_newer_saves_of_others(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {"vendor": "Acme"}, 0)
    save(document, desk.ana, {"vendor": "Acme Supplies"}, 1)
    old = AnnotationRevision.objects.get(number=1)
    save(document, desk.ben, {"vendor": "Acme Supplies", "invoice_id": "A-1029"}, 2)
    saved = annotation_services.restore(document=document, user=desk.ana, revision_id=old.pk, base_version=2)
    assert (saved.value, saved.merged) == ({"invoice_id": "A-1029", "vendor": "Acme"}, ["invoice_id"])
