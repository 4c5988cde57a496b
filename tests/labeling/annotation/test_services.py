"""Drafts and submits: versions, gold, and that nothing invalid ever counts."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.annotation import services as annotation_services
from labeling.form.codec import FormEntry
from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Gold, Origin
from slmstudio.contract.json_text import dumps
from tests.labeling.label_desk import Desk, change_schema, gold, make_desk


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
    assert submit(document, desk.ana, gold()).submitted
    label = Gold.objects.get()
    assert label.origin == Origin.HUMAN
    assert label.revision.action == AnnotationRevision.Action.SUBMIT
    assert label.revision.value["total_amount"] == Decimal("1248.50")
    document.refresh_from_db()
    assert (document.state, document.locked_by) == (DocumentState.SUBMITTED, None)
    synthetic = desk.document(synthetic=True)
    submit(synthetic, desk.ana, gold())
    assert Gold.objects.get(document=synthetic).origin == Origin.SYNTHETIC


def test_invalid_submit_is_saved_as_draft(desk: Desk) -> None:
    document = desk.document()
    value: dict[str, Any] = {**gold(), "total_amount": Decimal("1248.505"), "date": "14/01/2026", "surprise": 1}
    del value["vendor"]
    with pytest.raises(annotation_services.InvalidLabel) as refused:
        submit(document, desk.ana, value)
    assert {problem.path for problem in refused.value.problems} == {"total_amount", "date", "surprise", "vendor"}
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


def test_submit_under_newer_schema_stays_a_draft(desk: Desk) -> None:
    document = desk.document()
    change_schema(desk.project, desk.owner, note={"type": ["string", "null"]})
    saved = submit(document, desk.ana, gold(), schema_number=1)
    assert (saved.submitted, saved.schema_version.number) == (False, 2)
    assert submit(document, desk.ana, gold(), saved.version, schema_number=2).submitted
    assert Gold.objects.get().schema_version.number == 2


def test_open_shows_the_newest_label_in_schema_order(desk: Desk) -> None:
    document = desk.document()
    opened = annotation_services.open_document(document=document, user=desk.ana)
    assert (opened.value, opened.version, opened.locked_by_other) == ({}, 0, None)
    draft(document, desk.ana, dict(reversed(gold().items())))
    document = Document.objects.get(pk=document.pk)
    opened = annotation_services.open_document(document=document, user=desk.ben)
    assert list(opened.value.items()) == list(gold().items())
    assert (opened.version, opened.locked_by_other, opened.author) == (1, desk.ana, desk.ana)
    assert opened.checks.evidence["vendor"]


def test_deleted_document_is_not_saved(desk: Desk) -> None:
    with pytest.raises(Document.DoesNotExist):
        draft(Document(pk=999_999, project=desk.project), desk.ana, {})
    other = make_desk(slug="other")
    with pytest.raises(Document.DoesNotExist):
        draft(Document(pk=other.document().pk, project=desk.project), desk.ana, {})
    assert not Annotation.objects.exists()


# -- saves from an older version, by two people or tabs --


def test_a_save_from_an_older_version_is_merged(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ana, {"vendor": "Acme"}, 0)
    draft(document, desk.ana, {"vendor": "Acme", "invoice_id": "A-1029"}, 1)
    saved = draft(document, desk.ben, {"vendor": "Acme Supplies"}, 1)
    assert saved.value == {"invoice_id": "A-1029", "vendor": "Acme Supplies"}
    assert (saved.version, saved.merged, saved.conflicts) == (3, ["invoice_id"], [])
    assert saved.merged_with == desk.ana.username
    assert Annotation.objects.count() == 2
    assert AnnotationRevision.objects.count() == 3


def test_same_field_conflicts_for_two_users_but_not_for_two_tabs(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ana, {"vendor": "Acme", "date": "2026-01-14"})
    saved = draft(document, desk.ana, {"vendor": "Acme Supplies"})
    assert saved.value == {"date": "2026-01-14", "vendor": "Acme Supplies"}
    assert (saved.merged, saved.conflicts) == (["date"], [])
    saved = draft(document, desk.ben, {"vendor": "Globex"})
    assert saved.value == {"date": "2026-01-14", "vendor": "Globex"}
    assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("vendor", "Acme Supplies")]
    assert AnnotationRevision.objects.get(number=2).value["vendor"] == "Acme Supplies"


def test_conflict_is_reported_until_seen(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ana, {**gold(), "total_amount": 1}, 0)
    draft(document, desk.ben, {**gold(), "total_amount": 2}, 1)
    for value in (gold(), {**gold(), "vendor": "Acme"}):
        saved = draft(document, desk.ana, value, 1)
        assert saved.value == value
        assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("total_amount", 2)]
        assert saved.merged_with == desk.ben.username
    held = submit(document, desk.ana, gold(), 1)
    assert (held.submitted, [clash.path for clash in held.conflicts]) == (False, ["total_amount"])
    assert not Gold.objects.exists()
    again = submit(document, desk.ana, gold(), held.version)
    assert (again.submitted, again.conflicts) == (True, [])


def test_import_conflicts_with_its_own_user(desk: Desk) -> None:
    document = desk.document()
    schema = desk.project.schema_version
    imported = Annotation.objects.create(
        project=document.project, document=document, schema_version=schema, value=gold(), version=1
    )
    AnnotationRevision.objects.create(annotation=imported, number=1, action="import", value=gold(), user=desk.ana)
    saved = draft(document, desk.ana, {"vendor": "Acme"}, 0)
    assert ([clash.path for clash in saved.conflicts], saved.merged_with) == (["vendor"], "an import")


def test_base_version_of_an_older_schema_is_ignored(desk: Desk) -> None:
    document = desk.document()
    draft(document, desk.ana, {"vendor": "Acme"}, 0)
    change_schema(desk.project, desk.owner, note={"type": "string"})
    draft(document, desk.ben, {"vendor": "Acme Supplies"}, 0, schema_number=2)
    saved = draft(document, desk.ana, {"vendor": "Acme Ltd"}, 1, schema_number=1)
    assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("vendor", "Acme Supplies")]


def test_merged_submit_stays_a_draft_but_an_equal_one_counts(desk: Desk) -> None:
    document, equal = desk.document(), desk.document()
    assert submit(document, desk.ana, {**gold(), "vendor": "Acme"}).submitted
    merged = submit(document, desk.ben, gold())
    assert not merged.submitted
    assert Gold.objects.get().revision.value["vendor"] == "Acme"
    assert submit(document, desk.ben, merged.value, merged.version).submitted
    assert Gold.objects.get().revision.annotation.user == desk.ben
    assert [submit(equal, user, gold()).submitted for user in (desk.ana, desk.ben)] == [True, True]
