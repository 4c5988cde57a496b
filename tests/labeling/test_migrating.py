"""Taking labels to another schema: the dry run, the change, what it keeps and what it queues again."""

import threading
from typing import Any

import pytest

from labeling import jobs
from labeling.mapping import MappingError
from labeling.models import (
    Annotation,
    AnnotationRevision,
    Document,
    DocumentState,
    Gold,
    SchemaMigration,
    SchemaVersion,
)
from labeling.services import annotating, migrating
from labeling.services.datasets import rows as frozen_rows
from labeling.services.freezing import freeze
from slmstudio.contract.schema import dumps, loads
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.labeling.work_desk import at_once


@pytest.fixture
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
    planned = migrating.plan(
        project=desk.project, user=desk.people["owner"], schema_text=schema, mapping=mapping, dry_run=dry_run
    )
    jobs.run_schema_migration(planned.pk)
    planned.refresh_from_db()
    return planned


RENAME = [{"do": "rename", "field": "vendor", "to": "seller"}]


def renamed(desk: Desk) -> str:
    return changed(desk, vendor=None, seller={"type": "string"})


def test_a_dry_run_counts_and_shows_and_changes_nothing(desk: Desk) -> None:
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


def test_applying_takes_gold_along_as_new_revisions(desk: Desk) -> None:
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


def test_only_what_became_invalid_is_queued_again(desk: Desk) -> None:
    odd = invoice(2)
    odd["gold"]["vendor"] = "B"
    bring_in(desk.project, [invoice(1), odd])
    schema = changed(desk, vendor={"type": "string", "minLength": 3})
    assert run(desk, schema, []).result["broken"] == 1
    run(desk, schema, [], dry_run=False)
    states = dict(Document.objects.values_list("external_id", "state"))
    assert states == {"inv-0001": DocumentState.SUBMITTED, "inv-0002": DocumentState.IN_PROGRESS}
    document = Document.objects.get(external_id="inv-0002")
    opened = annotating.open_document(document=document, user=desk.people["annotator"])
    assert opened.value["vendor"] == "B"
    assert [problem.path for problem in opened.checks.problems] == ["vendor"]


def test_drafts_come_along_and_stay_drafts(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document = Document.objects.get()
    annotator = desk.people["annotator"]
    annotating.save_draft(document=document, user=annotator, value={"vendor": "Acme"}, evidence={}, base_version=0)
    done = run(desk, renamed(desk), RENAME, dry_run=False)
    assert (done.result["drafts"], done.result["broken"]) == (1, 0)
    opened = annotating.open_document(document=document, user=annotator)
    assert (opened.value, opened.version, opened.author) == ({"seller": "Acme"}, 1, annotator)
    assert not Gold.objects.exists()
    # The next save merges from what was taken along.
    saved = annotating.save_draft(
        document=document, user=annotator, value={"seller": "Acme Inc"}, evidence={}, base_version=1
    )
    assert (saved.version, saved.value) == (2, {"seller": "Acme Inc"})


def test_a_draft_begun_after_submitting_does_not_replace_gold(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1, gold=False)])
    document, annotator = Document.objects.get(), desk.people["annotator"]
    label: dict[str, Any] = {"document": document, "user": annotator, "evidence": {}}
    value = {"invoice_id": "F-1", "date": "2026-01-14", "vendor": "Acme Supplies", "total_amount": 1.5}
    annotating.submit(**label, value=value, base_version=0)
    annotating.save_draft(**label, value={**value, "vendor": "Acme"}, base_version=1)
    run(desk, renamed(desk), RENAME, dry_run=False)
    gold = Gold.objects.newest_of(desk.project).select_related("revision", "revision__annotation").get()
    assert gold.revision.value["seller"] == "Acme Supplies"
    assert gold.revision.annotation.value["seller"] == "Acme"


def test_an_interrupted_change_goes_on_where_it_stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(desk.project, [invoice(number) for number in range(1, 8)])
    monkeypatch.setattr(migrating, "BATCH", 3)
    whole = migrating._move

    def fails_second(*args: Any) -> None:
        if Annotation.objects.filter(schema_version__number=2).exists():
            raise RuntimeError("the cable was pulled")
        whole(*args)

    monkeypatch.setattr(migrating, "_move", fails_second)
    stopped = run(desk, renamed(desk), RENAME, dry_run=False)
    assert (stopped.status, stopped.result["looked_at"]) == ("failed", 3)
    assert "continue" in stopped.error
    monkeypatch.setattr(migrating, "_move", whole)
    again = migrating.resume(run=stopped)
    assert again is not None
    jobs.run_schema_migration(again.pk)
    assert Gold.objects.filter(schema_version__number=2).count() == 7
    assert SchemaVersion.objects.count() == 2
    again.refresh_from_db()
    assert again.result["looked_at"] == 4


def test_a_plan_from_an_older_schema_is_refused_when_it_is_applied(desk: Desk) -> None:
    bring_in(desk.project, [invoice(1)])
    planned = migrating.plan(project=desk.project, user=None, schema_text=renamed(desk), mapping=RENAME, dry_run=False)
    version = desk.project.schema_version
    SchemaVersion.objects.create(
        project=desk.project, number=2, schema_text=version.schema_text.replace("number", "integer"), sha256="x"
    )
    jobs.run_schema_migration(planned.pk)
    planned.refresh_from_db()
    assert planned.status == "failed"
    assert "Somebody else changed the schema" in planned.error


def test_what_cannot_be_planned_says_why(desk: Desk) -> None:
    plan: dict[str, Any] = {"project": desk.project, "user": None, "mapping": []}
    with pytest.raises(migrating.Refused, match="nothing to change"):
        migrating.plan(**plan, schema_text=desk.project.schema_version.schema_text)
    with pytest.raises(migrating.ContractError, match="not JSON"):
        migrating.plan(**plan, schema_text="{")
    with pytest.raises(MappingError, match="Step 1"):
        migrating.plan(**{**plan, "mapping": [{"do": "drop", "field": "x"}]}, schema_text=renamed(desk))
    migrating.plan(**{**plan, "mapping": RENAME}, schema_text=renamed(desk), dry_run=False)
    with pytest.raises(migrating.Refused, match="under way"):
        migrating.plan(**{**plan, "mapping": RENAME}, schema_text=renamed(desk), dry_run=False)


def test_a_label_whose_save_was_under_way_comes_along(
    transactional_db: None, queues: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = make_desk()
    bring_in(desk.project, [invoice(1), invoice(2, gold=False)])
    document = Document.objects.get(external_id="inv-0002")
    holds, may_go_on = threading.Event(), threading.Event()
    write = annotating.write

    def slow(*args: Any) -> Any:
        holds.set()  # the schema has been read
        assert may_go_on.wait(20)
        return write(*args)

    def submit() -> Any:
        return annotating.submit(
            document=document, user=desk.people["annotator"], value=invoice(2)["gold"], evidence={}, base_version=0
        )

    def change() -> SchemaMigration:
        assert holds.wait(20)
        threading.Timer(1, may_go_on.set).start()
        return run(desk, renamed(desk), RENAME, dry_run=False)

    monkeypatch.setattr(annotating, "write", slow)
    saved, done = at_once(submit, change)
    assert (saved.submitted, done.status, done.result["kept"]) == (True, "done", 2)
    gold = Gold.objects.newest_of(desk.project).get(document=document)
    assert gold.schema_version.number == 2
    assert gold.revision.value["seller"] == "Acme Supplies"
