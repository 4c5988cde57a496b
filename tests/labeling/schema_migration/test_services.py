"""Taking labels to another schema: the dry run, the change, what it keeps and what it queues again."""

import threading
from typing import Any

import pytest

from labeling import jobs
from labeling.annotation import revisions
from labeling.annotation import services as annotation_services
from labeling.contract.errors import ContractError
from labeling.datasets import export as dataset_export
from labeling.datasets.freeze import freeze
from labeling.datasets.queries import rows as frozen_rows
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    SchemaMigration,
    SchemaVersion,
)
from labeling.projects import members
from labeling.projects.services import save_contract
from labeling.review import services as review_services
from labeling.schema_migration import services as schema_migration_services
from labeling.schema_migration.mapping import MappingError
from slmstudio.contract.schema.compiled import dumps, loads
from slmstudio.database import transactions
from slmstudio.errors import Refused
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.labeling.work_desk import at_once
from tests.shared_rows import shared_fixture


@shared_fixture
def desk(db: None, queues: None) -> Desk:
    return make_desk()


def changed(desk: Desk, **properties: Any) -> str:
    """The project's schema with some properties replaced, taken away (None) or added."""
    schema = loads(desk.project.schema_version.schema_text)
    for name, value in properties.items():
        if value is None:
            del schema["properties"][name]
            schema["required"] = [other for other in schema["required"] if other != name]
        else:
            schema["properties"][name] = value
    return dumps(schema)


def run(desk: Desk, schema: str, mapping: list[dict[str, Any]], *, dry_run: bool = True) -> SchemaMigration:
    planned = schema_migration_services.start_dry_run(
        project=desk.project, user=desk.people["owner"], schema_text=schema, mapping=mapping, dry_run=dry_run
    )
    jobs.run_schema_migration(planned.pk)
    planned.refresh_from_db()
    return planned


RENAME = [{"do": "rename", "field": "vendor", "to": "seller"}]


def renamed(desk: Desk) -> str:
    return changed(desk, vendor=None, seller={"type": "string"})


def test_a_migration_keeps_the_pasted_text(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    pasted = dumps({"name": "invoice", "schema": loads(renamed(desk))})
    dry = run(desk, pasted, RENAME)
    done = schema_migration_services.start_dry_run(
        project=desk.project, user=desk.people["owner"], schema_text=dry.schema_text, source_text=dry.source_text,
        mapping=RENAME, dry_run=False,
    )  # fmt: skip
    jobs.run_schema_migration(done.pk)
    assert desk.project.schema_versions.order_by("-number")[0].source_text == pasted


def test_dry_run_changes_nothing(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2), invoice(3, gold=False)])
    done = run(desk, renamed(desk), RENAME)
    assert done.status == "done", done.error
    assert {name: done.result[name] for name in ("looked_at", "kept", "broken", "changed")} == {
        "looked_at": 2,
        "kept": 2,
        "broken": 0,
        "changed": 2,
    }
    assert ["seller", None, "Acme Supplies"] in done.result["fits"][0]["changes"]
    assert SchemaVersion.objects.count() == 1
    assert Annotation.objects.count() == 2


def test_migration_writes_gold_as_new_revisions(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    old = freeze(project=desk.project, user=None)
    done = run(desk, renamed(desk), RENAME, dry_run=False)
    assert (done.status, str(done.to_version)) == ("done", "v2"), done.error
    golds = Gold.objects.newest_of(desk.project).select_related("revision")
    assert [gold.revision.value["seller"] for gold in golds] == ["Acme Supplies"] * 2
    assert {gold.revision.action for gold in golds} == {AnnotationRevision.Action.MIGRATE}
    assert {gold.origin for gold in golds} == {"imported"}
    assert Document.objects.counts_by_state() == {"submitted": 2}
    assert all("vendor" in row["gold"] for row in frozen_rows(old))
    new = freeze(project=desk.project, user=None)
    assert all("seller" in row["gold"] for row in frozen_rows(new))
    assert new.counts["left_out"]["does_not_fit_schema"] == 0


def test_only_invalid_labels_are_requeued(desk: Desk) -> None:
    odd = invoice(2)
    odd["gold"]["vendor"] = "B"
    bring_in(desk.project, [invoice(1), odd])
    schema = changed(desk, vendor={"type": "string", "minLength": 3})
    assert run(desk, schema, []).result["broken"] == 1
    run(desk, schema, [], dry_run=False)
    states = dict(Document.objects.values_list("external_id", "state"))
    assert states == {"inv-0001": DocumentState.SUBMITTED, "inv-0002": DocumentState.IN_PROGRESS}
    document = Document.objects.get(external_id="inv-0002")
    opened = annotation_services.open_document(document=document, user=desk.people["annotator"])
    assert opened.value["vendor"] == "B"
    assert [problem.path for problem in opened.checks.problems] == ["vendor"]


def test_drafts_migrate_as_drafts(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document = Document.objects.get()
    annotator = desk.people["annotator"]
    annotation_services.save_draft(
        document=document, user=annotator, value={"vendor": "Acme"}, evidence={}, base_version=0
    )
    done = run(desk, renamed(desk), RENAME, dry_run=False)
    assert (done.result["drafts"], done.result["broken"]) == (1, 0)
    opened = annotation_services.open_document(document=document, user=annotator)
    assert (opened.value, opened.version, opened.author) == ({"seller": "Acme"}, 1, annotator)
    assert not Gold.objects.exists()
    # The next save merges from what was taken along.
    saved = annotation_services.save_draft(
        document=document, user=annotator, value={"seller": "Acme Inc"}, evidence={}, base_version=1
    )
    assert (saved.version, saved.value) == (2, {"seller": "Acme Inc"})


def test_interrupted_migration_resumes(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(desk.project, [invoice(number) for number in range(1, 8)])
    monkeypatch.setattr(schema_migration_services, "BATCH", 3)
    whole = schema_migration_services._migrate_batch

    def fails_second(*args: Any) -> None:
        if Annotation.objects.filter(schema_version__number=2).exists():
            raise RuntimeError("the cable was pulled")
        whole(*args)

    monkeypatch.setattr(schema_migration_services, "_migrate_batch", fails_second)
    stopped = run(desk, renamed(desk), RENAME, dry_run=False)
    assert (stopped.status, stopped.result["looked_at"]) == ("failed", 3)
    assert "resume" in stopped.error
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "migration"):
        freeze(project=desk.project, user=None)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "migration"):
        dataset_export.export_project(desk.project, "rows")
    client = desk.as_("engineer")
    assert client.get(desk.url("export/rows/")).status_code == 422
    for page in ("datasets/", "export/"):
        assert f"contract/migrations/{stopped.pk}/" in client.get(desk.url(page)).content.decode()
    monkeypatch.setattr(schema_migration_services, "_migrate_batch", whole)
    again = schema_migration_services.resume(run=stopped, user=None)
    assert again is not None
    jobs.run_schema_migration(again.pk)
    assert Gold.objects.filter(schema_version__number=2).count() == 7
    assert SchemaVersion.objects.count() == 2
    again.refresh_from_db()
    assert again.result["looked_at"] == 4
    assert len(b"".join(dataset_export.export_project(desk.project, "rows")).splitlines()) == 7
    assert freeze(project=desk.project, user=None).counts["documents"] == 7


def test_outdated_dry_run_cannot_be_applied(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    planned = schema_migration_services.start_dry_run(
        project=desk.project, user=None, schema_text=renamed(desk), mapping=RENAME, dry_run=False
    )
    version = desk.project.schema_version
    SchemaVersion.objects.create(
        project=desk.project, number=2, schema_text=version.schema_text.replace("number", "integer"), sha256="x"
    )
    jobs.run_schema_migration(planned.pk)
    planned.refresh_from_db()
    assert planned.status == "failed"
    assert "Another user changed the schema" in planned.error


def test_invalid_dry_run_is_refused(desk: Desk) -> None:
    plan: dict[str, Any] = {"project": desk.project, "user": None, "mapping": []}
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "unchanged"):
        schema_migration_services.start_dry_run(**plan, schema_text=desk.project.schema_version.schema_text)
    with pytest.raises(ContractError, match="not valid JSON"):
        schema_migration_services.start_dry_run(**plan, schema_text="{")
    with pytest.raises(MappingError, match="Step 1"):
        schema_migration_services.start_dry_run(
            **{**plan, "mapping": [{"do": "drop", "field": "x"}]}, schema_text=renamed(desk)
        )
    schema_migration_services.start_dry_run(**{**plan, "mapping": RENAME}, schema_text=renamed(desk), dry_run=False)
    with pytest.raises(Refused, check=lambda refusal: refusal.code == "running"):
        schema_migration_services.start_dry_run(**{**plan, "mapping": RENAME}, schema_text=renamed(desk), dry_run=False)


def test_concurrent_save_migrates(transactional_db: None, queues: None, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make_desk()
    bring_in(desk.project, [invoice(1), invoice(2, gold=False)])
    document = Document.objects.get(external_id="inv-0002")
    holds, may_go_on = threading.Event(), threading.Event()
    write = revisions.write_revision

    def slow(*args: Any) -> Any:
        holds.set()  # the schema has been read
        assert may_go_on.wait(20)
        return write(*args)

    def submit() -> Any:
        return annotation_services.submit(
            document=document, user=desk.people["annotator"], value=invoice(2)["gold"], evidence={}, base_version=0
        )

    def change() -> SchemaMigration:
        assert holds.wait(20)
        threading.Timer(0.3, may_go_on.set).start()
        return run(desk, renamed(desk), RENAME, dry_run=False)

    monkeypatch.setattr(annotation_services, "write_revision", slow)
    saved, done = at_once(submit, change)
    assert (saved.submitted, done.status, done.result["kept"]) == (True, "done", 2)
    gold = Gold.objects.newest_of(desk.project).get(document=document)
    assert gold.schema_version.number == 2
    assert gold.revision.value["seller"] == "Acme Supplies"


@pytest.mark.parametrize("what", ["schema", "review"])
def test_submit_concurrent_with_contract_save_is_gold(
    transactional_db: None, queues: None, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    desk = make_desk()
    bring_in(desk.project, [invoice(1, gold=False)])
    owner, document = desk.people["owner"], Document.objects.get()
    if what == "review":
        members.change_settings(project=desk.project, by=owner, values={"review_required": True})
    document = Document.objects.select_related("project").get()
    holds, may_go_on = threading.Event(), threading.Event()
    write, wait = revisions.write_revision, transactions.wait_for

    def slow(*args: Any) -> Any:
        holds.set()  # the schema and the settings have been read
        assert may_go_on.wait(20)
        return write(*args)

    def go_on_and_wait(transactions_before: Any) -> None:
        may_go_on.set()  # the change is committed
        wait(transactions_before)

    def submit() -> Any:
        return annotation_services.submit(
            document=document, user=desk.people["annotator"], value=invoice(1)["gold"], evidence={}, base_version=0
        )

    def change() -> None:
        assert holds.wait(20)
        if what == "review":
            members.change_settings(project=desk.project, by=owner, values={"review_required": False})
        else:
            schema = changed(desk, note={"type": "string"})
            save_contract(project=desk.project, user=owner, instruction="x", schema_text=schema, constraints={})
        may_go_on.set()

    monkeypatch.setattr(annotation_services, "write_revision", slow)
    monkeypatch.setattr(transactions, "wait_for", go_on_and_wait)
    saved, error = at_once(submit, change)
    assert (saved.submitted, error) == (True, None)
    desk.project.refresh_from_db()
    assert list(current(desk)) == ["inv-0001"]


# -- going back, and why documents return ------------------------------------------------------------------------------


def added(desk: Desk) -> str:
    """The project's schema with one more required field."""
    schema = loads(changed(desk, po_number={"type": "string"}))
    schema["required"].append("po_number")
    return dumps(schema)


def current(desk: Desk) -> dict[str, Any]:
    golds = Gold.objects.current(desk.project).select_related("revision", "document")
    return {gold.document.external_id: gold.revision.value for gold in golds}


def test_requeued_document_has_a_reason(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2, gold=False)])
    run(desk, added(desk), [], dry_run=False)
    document = Document.objects.get(external_id="inv-0001")
    assert document.requeue_reason == "The schema changed to v2: field po_number is new."
    assert Document.objects.get(external_id="inv-0002").requeue_reason == ""
    label = {**invoice(1)["gold"], "po_number": "inv"}
    state = {"user": desk.people["annotator"], "evidence": {"po_number": {"confirmed": True, "of": '"inv"'}}}
    annotation_services.submit(document=document, **state, value=label, base_version=1)
    document.refresh_from_db()
    assert (document.returned, document.requeue_reason) == (None, "")


def test_return_to_schema_restores_valid_labels(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(1, 4)])
    Document.objects.filter(external_id="inv-0001").update(state=DocumentState.APPROVED)
    first, before = desk.project.schema_version.schema_text, current(desk)
    run(desk, added(desk), [], dry_run=False)
    assert (current(desk), Document.objects.counts_by_state()) == ({}, {"in_progress": 3})
    drop = [{"do": "drop", "field": "po_number"}]
    assert run(desk, first, drop).result["restored"] == 3
    assert run(desk, first, drop, dry_run=False).result["restored"] == 3
    assert current(desk) == before
    assert Document.objects.counts_by_state() == {"approved": 1, "submitted": 2}
    assert Document.objects.get(external_id="inv-0001").state == DocumentState.APPROVED
    assert not Document.objects.filter(returned__isnull=False).exists()
    assert not Annotation.objects.filter(schema_version__number=3, submitted=False).exists()


def test_return_to_schema_keeps_newer_labels(desk: Desk) -> None:
    bring_in(desk.project, [invoice(number) for number in range(1, 4)])
    first, before = desk.project.schema_version.schema_text, current(desk)
    run(desk, added(desk), [], dry_run=False)
    label = {**invoice(1)["gold"], "vendor": "Acme", "po_number": "F-1"}
    save: dict[str, Any] = {"user": desk.people["annotator"], "evidence": {}, "value": label, "base_version": 1}
    annotation_services.submit(document=Document.objects.get(external_id="inv-0001"), **save)
    annotation_services.save_draft(document=Document.objects.get(external_id="inv-0002"), **save)
    run(desk, first, [{"do": "drop", "field": "po_number"}], dry_run=False)
    assert current(desk) == {**before, "inv-0001": {**before["inv-0001"], "vendor": "Acme"}}
    assert Document.objects.counts_by_state() == {"submitted": 3}
    opened = annotation_services.open_document(
        document=Document.objects.get(external_id="inv-0002"), user=desk.people["annotator"]
    )
    assert (opened.value["vendor"], opened.annotation and opened.annotation.submitted) == ("Acme", False)


def test_return_to_schema_restores_dropped_values(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1), invoice(2)])
    first, before = desk.project.schema_version.schema_text, current(desk)
    run(desk, changed(desk, vendor=None), [{"do": "drop", "field": "vendor"}], dry_run=False)
    assert all("vendor" not in value for value in current(desk).values())
    run(desk, first, [], dry_run=False)
    assert current(desk) == before


def test_return_to_schema_keeps_rejections(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    first = desk.project.schema_version.schema_text
    run(desk, renamed(desk), RENAME, dry_run=False)
    Document.objects.update(state=DocumentState.REJECTED)
    Annotation.objects.filter(schema_version__number=2).update(submitted=False)
    run(desk, first, [{"do": "rename", "field": "seller", "to": "vendor"}], dry_run=False)
    assert Document.objects.counts_by_state() == {"rejected": 1}
    assert current(desk) == {}
    assert not Annotation.objects.filter(schema_version__number=3, submitted=True).exists()


def test_return_to_schema_restores_pending_review(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    desk.project.review_required = True
    desk.project.save(update_fields=["review_required"])
    document, first = Document.objects.get(), desk.project.schema_version.schema_text
    save: dict[str, Any] = {"user": desk.people["annotator"], "evidence": {}, "value": invoice(1)["gold"]}
    annotation_services.submit(document=document, **save, base_version=0)
    run(desk, added(desk), [], dry_run=False)
    document.refresh_from_db()
    assert document.state == DocumentState.IN_PROGRESS
    run(desk, first, [{"do": "drop", "field": "po_number"}], dry_run=False)
    document.refresh_from_db()
    assert (document.state, document.returned, Gold.objects.count()) == (DocumentState.SUBMITTED, None, 0)
    label = Annotation.objects.get(schema_version__number=3)
    assert (label.submitted, label.value, label.user) == (True, invoice(1)["gold"], desk.people["annotator"])


def test_return_over_two_changes_restores(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    Document.objects.update(state=DocumentState.APPROVED)
    first, before = desk.project.schema_version.schema_text, current(desk)
    run(desk, added(desk), [], dry_run=False)
    schema = loads(desk.project.schema_version.schema_text)
    schema["properties"]["vat"] = {"type": "string"}
    schema["required"].append("vat")
    run(desk, dumps(schema), [], dry_run=False)
    document = Document.objects.get()
    assert document.requeue_reason == "The schema changed to v3: field po_number is new; field vat is new."
    drop = [{"do": "drop", "field": name} for name in ("po_number", "vat")]
    run(desk, first, drop, dry_run=False)
    document.refresh_from_db()
    assert (document.state, document.returned, current(desk)) == (DocumentState.APPROVED, None, before)


@pytest.mark.parametrize("then", ["submitted", "rejected", "approved later"])
def test_return_to_schema_keeps_approved_gold(desk: Desk, then: str) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    desk.project.review_required = True
    desk.project.save(update_fields=["review_required"])
    document, first = Document.objects.get(), desk.project.schema_version.schema_text
    approved = invoice(1)["gold"]
    corrected = {**approved, "vendor": "Acme"}
    save: dict[str, Any] = {"document": document, "user": desk.people["annotator"], "evidence": {}}
    annotation_services.submit(**save, value=approved, base_version=0)
    review_services.approve(document=document, user=desk.people["reviewer"], base_version=1)
    evidence = {"vendor": {"confirmed": True, "of": '"Acme"'}}
    annotation_services.submit(**{**save, "evidence": evidence}, value=corrected, base_version=1)
    if then == "rejected":
        review_services.reject(
            document=Document.objects.get(), user=desk.people["reviewer"], reason="The vendor is wrong."
        )
    run(desk, renamed(desk), RENAME, dry_run=False)
    if then == "approved later":
        review_services.approve(document=Document.objects.get(), user=desk.people["reviewer"], base_version=2)
    run(desk, first, [{"do": "rename", "field": "seller", "to": "vendor"}], dry_run=False)
    gold = Gold.objects.get(schema_version__number=3)
    assert gold.revision.value == (corrected if then == "approved later" else approved)
    assert gold.approved_by == desk.people["reviewer"]
