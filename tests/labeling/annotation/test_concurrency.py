"""Concurrent saves of one document by two users or tabs: no work is overwritten."""

import threading
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, AnnotationRevision, Gold
from labeling.projects.services import save_contract
from tests.labeling.label_desk import Desk, gold, make_desk


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    return make_desk()


def save(document: Any, user: User, value: Any, base: int, **more: Any) -> annotation_services.SaveResult:
    return annotation_services.save_draft(
        document=document, user=user, value=value, evidence={}, base_version=base, **more
    )


def test_a_save_from_an_older_version_is_merged(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {"vendor": "Acme"}, 0)
    save(document, desk.ana, {"vendor": "Acme", "invoice_id": "A-1029"}, 1)
    saved = save(document, desk.ben, {"vendor": "Acme Supplies"}, 1)
    assert saved.value == {"invoice_id": "A-1029", "vendor": "Acme Supplies"}
    assert (saved.version, saved.merged, saved.conflicts) == (3, ["invoice_id"], [])
    assert saved.merged_with == desk.ana.username
    assert Annotation.objects.count() == 2
    assert AnnotationRevision.objects.count() == 3


def test_same_field_changed_by_two_users_conflicts(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {"vendor": "Acme"}, 0)
    saved = save(document, desk.ben, {"vendor": "Acme Supplies"}, 0)
    assert saved.value == {"vendor": "Acme Supplies"}
    assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("vendor", "Acme")]
    assert AnnotationRevision.objects.get(number=1).value == {"vendor": "Acme"}


def test_tabs_of_one_user_do_not_conflict(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {"vendor": "Acme", "date": "2026-01-14"}, 0)
    saved = save(document, desk.ana, {"vendor": "Acme Supplies"}, 0)
    assert saved.value == {"date": "2026-01-14", "vendor": "Acme Supplies"}
    assert (saved.merged, saved.conflicts) == (["date"], [])


def test_conflict_is_reported_until_seen(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {**gold(), "total_amount": 1}, 0)
    save(document, desk.ben, {**gold(), "total_amount": 2}, 1)
    for value in (gold(), {**gold(), "vendor": "Acme"}):
        saved = save(document, desk.ana, value, 1)
        assert saved.value == value
        assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("total_amount", 2)]
        assert saved.merged_with == desk.ben.username
    held = annotation_services.submit(document=document, user=desk.ana, value=gold(), evidence={}, base_version=1)
    assert (held.submitted, [clash.path for clash in held.conflicts]) == (False, ["total_amount"])
    assert not Gold.objects.exists()
    seen = annotation_services.submit(
        document=document, user=desk.ana, value=gold(), evidence={}, base_version=held.version
    )
    assert (seen.submitted, seen.conflicts) == (True, [])


def test_import_conflicts_with_its_own_user(desk: Desk) -> None:
    document = desk.document()
    schema = desk.project.schema_version
    imported = Annotation.objects.create(
        project=document.project, document=document, schema_version=schema, value=gold(), version=1
    )
    AnnotationRevision.objects.create(annotation=imported, number=1, action="import", value=gold(), user=desk.ana)
    saved = save(document, desk.ana, {"vendor": "Acme"}, 0)
    assert ([clash.path for clash in saved.conflicts], saved.merged_with) == (["vendor"], "an import")


def test_base_version_of_an_older_schema_is_ignored(desk: Desk) -> None:
    document = desk.document()
    save(document, desk.ana, {"vendor": "Acme"}, 0)
    text = desk.project.schema_version.schema_text.replace(
        '"invoice_id":{', '"note":{"type":"string"},"invoice_id":{', 1
    )
    save_contract(project=desk.project, user=desk.owner, instruction="Do it.", schema_text=text, constraints={})
    save(document, desk.ben, {"vendor": "Acme Supplies"}, 0, schema_number=2)
    saved = save(document, desk.ana, {"vendor": "Acme Ltd"}, 1, schema_number=1)
    assert [(clash.path, clash.theirs) for clash in saved.conflicts] == [("vendor", "Acme Supplies")]


def test_merged_submit_stays_a_draft(desk: Desk) -> None:
    document = desk.document()
    other = {**gold(), "vendor": "Acme"}
    first = annotation_services.submit(document=document, user=desk.ana, value=other, evidence={}, base_version=0)
    second = annotation_services.submit(document=document, user=desk.ben, value=gold(), evidence={}, base_version=0)
    assert (first.submitted, second.submitted) == (True, False)
    assert Gold.objects.get().revision.value["vendor"] == "Acme"
    third = annotation_services.submit(
        document=document, user=desk.ben, value=second.value, evidence={}, base_version=second.version
    )
    assert third.submitted
    assert Gold.objects.get().revision.annotation.user == desk.ben


def test_equal_label_can_be_submitted_twice(desk: Desk) -> None:
    document = desk.document()
    for user in (desk.ana, desk.ben):
        saved = annotation_services.submit(document=document, user=user, value=gold(), evidence={}, base_version=0)
        assert saved.submitted


def test_concurrent_submits_are_merged(desk: Desk) -> None:
    document, start = desk.document(), threading.Barrier(2)
    results: dict[str, annotation_services.SaveResult] = {}

    def work(user: User, vendor: str) -> None:
        try:
            start.wait(10)
            value = {**gold(), "vendor": vendor}
            results[vendor] = annotation_services.submit(
                document=document, user=user, value=value, evidence={}, base_version=0
            )
        finally:
            connection.close()

    people = ((desk.ana, "Acme"), (desk.ben, "Acme Supplies"))
    threads = [threading.Thread(target=work, args=person) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted((saved.submitted, saved.version) for saved in results.values()) == [(False, 2), (True, 1)]
    winner = next(vendor for vendor, saved in results.items() if saved.submitted)
    assert Gold.objects.get().revision.value["vendor"] == winner
    values = AnnotationRevision.objects.values_list("value__vendor", flat=True)
    assert sorted(values) == ["Acme", "Acme Supplies"]


def test_concurrent_drafts_lose_nothing(desk: Desk) -> None:
    document = desk.document()
    failures: list[BaseException] = []

    def work(user: User, name: str) -> None:
        version = 0
        value: dict[str, Any] = {}
        try:
            for number in range(4):
                value = {**value, name: f"{name} {number}"}
                saved = save(document, user, value, version)
                version, value = saved.version, saved.value
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=work, args=(user, name))
        for user, name in ((desk.ana, "vendor"), (desk.ben, "invoice_id"), (desk.owner, "purchase_order"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert sorted(AnnotationRevision.objects.values_list("number", flat=True)) == list(range(1, 13))
    newest = Annotation.objects.order_by("-version")[0]
    assert newest.value == {"vendor": "vendor 3", "invoice_id": "invoice_id 3", "purchase_order": "purchase_order 3"}
