"""Drafts and submits: versions, gold, and that nothing invalid ever counts."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import services as annotation_services
from labeling.form.codec import FormEntry
from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Gold, Origin
from labeling.projects.services import save_contract
from slmstudio.contract.json_text import dumps
from tests.labeling.label_desk import Desk, gold, make_desk
from tests.shared_rows import shared_fixture

pytestmark = pytest.mark.django_db


@shared_fixture
def desk(db: None) -> Desk:
    return make_desk()


def draft(document: Document, user: User, value: Any, base: int = 0, **more: Any) -> annotation_services.SaveResult:
    options = {"evidence": {}, **more}
    return annotation_services.save_draft(document=document, user=user, value=value, base_version=base, **options)


def submit(document: Document, user: User, value: Any, base: int = 0, **more: Any) -> annotation_services.SaveResult:
    options = {"evidence": {}, **more}
    return annotation_services.submit(document=document, user=user, value=value, base_version=base, **options)


def test_draft_can_be_invalid(desk: Desk) -> None:
    document = desk.document()
    saved = draft(document, desk.ana, FormEntry({"invoice_id": "A-1029", "total_amount": "abc"}), seconds=12)
    assert saved.version == 1
    assert {problem.path for problem in saved.problems} >= {"total_amount", "date", "vendor"}
    annotation = Annotation.objects.get()
    assert (annotation.valid, annotation.submitted, annotation.seconds) == (False, False, 12)
    document.refresh_from_db()
    assert document.state == DocumentState.IN_PROGRESS
    assert document.locked_by == desk.ana
    assert not Gold.objects.exists()


def test_every_save_is_a_revision_with_exact_digits(desk: Desk) -> None:
    document = desk.document()
    first = draft(document, desk.ana, FormEntry({"total_amount": "1,248.50"}))
    draft(document, desk.ana, FormEntry({"total_amount": "1,248.5"}), first.version, seconds=3)
    numbers = AnnotationRevision.objects.order_by("number").values_list("number", "value")
    assert [(number, dumps(value)) for number, value in numbers] == [
        (1, '{"total_amount":1248.50}'),
        (2, '{"total_amount":1248.5}'),
    ]
    assert Annotation.objects.get().version == 2


def test_submit_is_gold_without_review(desk: Desk) -> None:
    document = desk.document()
    saved = submit(document, desk.ana, gold())
    assert saved.submitted
    found = Gold.objects.get()
    assert found.origin == Origin.HUMAN
    assert found.revision.action == AnnotationRevision.Action.SUBMIT
    assert found.revision.value["total_amount"] == Decimal("1248.50")
    document.refresh_from_db()
    assert (document.state, document.locked_by) == (DocumentState.SUBMITTED, None)


@pytest.mark.parametrize(
    "change",
    [
        {"total_amount": "12"},
        {"date": "14/01/2026"},
        {"vendor": ...},
        {"surprise": 1},
        {"total_amount": Decimal("1248.505")},
    ],
)
def test_invalid_submit_is_saved_as_draft(desk: Desk, change: dict[str, Any]) -> None:
    document = desk.document()
    value = {name: inner for name, inner in {**gold(), **change}.items() if inner is not ...}
    with pytest.raises(annotation_services.InvalidLabel) as refused:
        submit(document, desk.ana, value)
    assert [problem.path for problem in refused.value.problems] == list(change)
    assert not Gold.objects.exists()
    assert not Annotation.objects.filter(submitted=True).exists()
    assert AnnotationRevision.objects.get().value == value
    document.refresh_from_db()
    assert document.state == DocumentState.IN_PROGRESS


def test_value_without_evidence_must_be_confirmed(desk: Desk) -> None:
    document = desk.document()
    value = {**gold(), "vendor": "Globex"}
    with pytest.raises(annotation_services.InvalidLabel) as refused:
        submit(document, desk.ana, value)
    assert [(problem.path, problem.rule) for problem in refused.value.problems] == [("vendor", "evidence")]
    other = {"vendor": {"confirmed": True, "of": '"Initech"'}}
    with pytest.raises(annotation_services.InvalidLabel):
        submit(document, desk.ana, value, refused.value.saved.version, evidence=other)
    right = {"vendor": {"confirmed": True, "of": '"Globex"'}}
    assert submit(document, desk.ana, value, 2, evidence=right).submitted
    assert Gold.objects.get().revision.evidence["vendor"] == {"confirmed": True, "of": '"Globex"'}


def test_evidence_is_found_or_chosen(desk: Desk) -> None:
    text = "Acme Supplies\nInvoice A-1 of 2026-01-14 and A-1 again\nTotal 5.00\nAcme Supplies"
    document = desk.document(text)
    value = {"invoice_id": "A-1", "date": "2026-01-14", "vendor": "Acme Supplies", "total_amount": Decimal("5.00")}
    second = text.rindex("Acme")
    chosen = {"vendor": {"start": second, "end": second + 13}, "date": {"start": 0, "end": 4}, "nonsense": 5}
    evidence = draft(document, desk.ana, value, evidence=chosen).checks.evidence
    assert text[evidence["invoice_id"]["start"] :].startswith("A-1 of")
    assert evidence["vendor"] == {"start": second, "end": second + 13}
    assert text[evidence["date"]["start"] : evidence["date"]["end"]] == "2026-01-14"
    assert "nonsense" not in evidence


def test_changed_label_counts_after_submit(desk: Desk) -> None:
    document = desk.document()
    first = submit(document, desk.ana, gold())
    draft(document, desk.ana, {**gold(), "vendor": "Acme"}, first.version)
    assert Gold.objects.get().revision.value["vendor"] == "Acme Supplies"
    document.refresh_from_db()
    assert document.state == DocumentState.SUBMITTED
    assert submit(document, desk.ana, {**gold(), "vendor": "Acme"}, 2).submitted
    assert Gold.objects.get().revision.value["vendor"] == "Acme"
    assert AnnotationRevision.objects.count() == 3


def test_label_of_synthetic_document_is_synthetic(desk: Desk) -> None:
    submit(desk.document(synthetic=True), desk.ana, gold())
    assert Gold.objects.get().origin == Origin.SYNTHETIC


def test_submit_under_newer_schema_stays_a_draft(desk: Desk) -> None:
    document = desk.document()
    schema = desk.project.schema_version
    text = schema.schema_text.replace('"invoice_id":{', '"note":{"type":["string","null"]},"invoice_id":{', 1)
    save_contract(project=desk.project, user=desk.owner, instruction="Do it.", schema_text=text, constraints={})
    saved = submit(document, desk.ana, gold(), schema_number=1)
    assert (saved.submitted, saved.schema_version.number) == (False, 2)
    assert submit(document, desk.ana, gold(), saved.version, schema_number=2).submitted
    assert Gold.objects.get().schema_version.number == 2


def test_open_shows_the_newest_label(desk: Desk) -> None:
    document = desk.document()
    fresh = annotation_services.open_document(document=document, user=desk.ana)
    assert (fresh.value, fresh.version, fresh.locked_by_other) == ({}, 0, None)
    draft(document, desk.ana, {"vendor": "Acme Supplies"})
    opened = annotation_services.open_document(document=document, user=desk.ben)
    assert (opened.value, opened.version) == ({"vendor": "Acme Supplies"}, 1)
    assert (opened.locked_by_other, opened.author) == (desk.ana, desk.ana)
    assert opened.checks.evidence["vendor"]


def test_open_returns_fields_in_schema_order(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ana, dict(reversed(gold().items())))
    opened = annotation_services.open_document(document=Document.objects.get(pk=document.pk), user=desk.ana)
    assert list(opened.value) == ["invoice_id", "date", "vendor", "total_amount"]


def test_deleted_document_is_not_saved(desk: Desk) -> None:
    with pytest.raises(Document.DoesNotExist):
        draft(Document(pk=999_999, project=desk.project), desk.ana, {})
    other = make_desk(slug="other")
    with pytest.raises(Document.DoesNotExist):
        draft(Document(pk=other.document().pk, project=desk.project), desk.ana, {})
    assert not Annotation.objects.exists()
