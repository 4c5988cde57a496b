"""The schema changes while people are at work: what waits for a review or for agreement is never stranded."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling import jobs
from labeling.annotation import services as annotation_services
from labeling.contract.errors import ContractError
from labeling.datasets.freeze import freeze
from labeling.models import Annotation, AnnotationRevision, Document, DocumentState, Gold, SchemaMigration
from labeling.projects.services import save_contract
from labeling.review import queries as review_queries
from labeling.review import services as review_services
from labeling.schema_migration import services as schema_migration_services
from slmstudio.contract.schema.compiled import dumps, loads
from tests.labeling.label_desk import Desk, gold
from tests.labeling.work_desk import change, fresh, member, review_desk, submit
from tests.shared_rows import shared_fixture

RENAME = [{"do": "rename", "field": "vendor", "to": "seller"}]


@shared_fixture
def desk(db: None, queues: None) -> Desk:
    desk = review_desk()
    member(desk, "cleo")
    return desk


def schema(desk: Desk, *, renamed: bool = False, shortest: int = 0) -> str:
    """The project's schema with one more field that may be left out; with the vendor renamed or of a least length."""
    changed = loads(desk.project.schema_version.schema_text)
    changed["properties"]["note"] = {"type": ["string", "null"]}
    if shortest:
        changed["properties"]["vendor"]["minLength"] = shortest
    if renamed:
        changed["properties"]["seller"] = changed["properties"].pop("vendor")
        changed["required"] = ["seller" if name == "vendor" else name for name in changed["required"]]
    return dumps(changed)


def plan(desk: Desk, text: str, mapping: Any = (), *, dry_run: bool = False) -> SchemaMigration:
    return schema_migration_services.start_dry_run(
        project=desk.project, user=desk.owner, schema_text=text, mapping=list(mapping), dry_run=dry_run
    )


def migrate(desk: Desk, text: str, mapping: Any = ()) -> SchemaMigration:
    run = plan(desk, text, mapping)
    jobs.run_schema_migration(run.pk)
    run.refresh_from_db()
    assert run.status == "done", run.error
    return run


def contract(desk: Desk, text: str) -> Any:
    return save_contract(project=desk.project, user=desk.owner, instruction="x", schema_text=text, constraints={})


def draft(
    document: Document, user: User, base: int, number: int | None = None, **changes: Any
) -> annotation_services.SaveResult:
    value = {**gold(), **changes}
    return annotation_services.save_draft(
        document=fresh(document), user=user, value=value, evidence={}, base_version=base, schema_number=number
    )


def under(number: int) -> Any:
    return AnnotationRevision.objects.filter(annotation__schema_version__number=number).order_by("number")


def test_pending_label_migrates_with_a_later_draft(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    draft(document, desk.ana, 1, vendor="Acme")
    run = migrate(desk, schema(desk))
    assert (run.result["kept"], run.result["drafts"]) == (1, 0)
    revisions = [(revision.action, revision.value["vendor"]) for revision in under(2)]
    assert revisions == [("migrate", "Acme Supplies"), ("draft", "Acme")]
    draft(document, desk.ana, 2, vendor="Acme Ltd")  # a draft after the migration keeps it pending too
    opened = review_services.open_review(document=fresh(document), user=desk.rita)
    assert (opened.refusal, opened.author, opened.version) == ("", desk.ana, 1)
    review_services.approve(document=fresh(document), user=desk.rita, base_version=1)
    assert Gold.objects.get().revision.value["vendor"] == "Acme Supplies"
    assert annotation_services.open_document(document=fresh(document), user=desk.ana).value["vendor"] == "Acme Ltd"


def test_document_whose_label_is_invalid_is_requeued_despite_a_valid_draft(desk: Desk) -> None:
    document = desk.document()
    submit(document, desk.ana)
    draft(document, desk.ana, 1, vendor="Acme Supplies of Delaware")
    migrate(desk, schema(desk, shortest=20))
    assert fresh(document).state == DocumentState.IN_PROGRESS
    assert not review_queries.pending_review(desk.project).exists()
    assert annotation_services.next_document(project=desk.project, user=desk.ana) == document


def test_invalid_label_ends_a_conflict(desk: Desk) -> None:
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, vendor="Acme")
    assert fresh(document).disputed
    migrate(desk, schema(desk, shortest=6))
    now = fresh(document)
    assert (now.state, now.disputed) == (DocumentState.IN_PROGRESS, False)
    assert annotation_services.next_document(project=desk.project, user=desk.ana) is None
    assert annotation_services.next_document(project=desk.project, user=desk.ben) == document
    submit(document, desk.ben, 2)
    assert (fresh(document).state, fresh(document).disputed) == (DocumentState.SUBMITTED, False)


def test_replaced_label_does_not_decide(desk: Desk) -> None:
    document = desk.document()
    first = submit(document, desk.ana, vendor="Acme")
    review_services.approve(document=fresh(document), user=desk.rita, base_version=1, value=gold(), evidence={})
    assert first.submitted
    migrate(desk, schema(desk, shortest=6))
    assert fresh(document).state == DocumentState.APPROVED
    assert Gold.objects.newest_of(desk.project).get().revision.annotation.user == desk.rita


def test_gold_migrates_with_a_draft_under_a_later_schema(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document()
    submit(document, desk.ana)
    contract(desk, schema(desk))
    draft(document, desk.ben, 0, vendor="Acme")
    migrate(desk, schema(desk, renamed=True), RENAME)
    label = Gold.objects.newest_of(desk.project).get()
    assert (label.schema_version.number, label.revision.value["seller"]) == (3, "Acme Supplies")
    assert annotation_services.open_document(document=fresh(document), user=desk.cleo).value["seller"] == "Acme"


def with_a_tab(desk: Desk, monkeypatch: pytest.MonkeyPatch, tab: Any) -> SchemaMigration:
    """Changes the schema; between the new version and the first batch a tab that was open all the time saves."""
    move = schema_migration_services._migrate_batch

    def tab_first(*args: Any) -> None:
        if not Annotation.objects.filter(schema_version__number=2).exists():
            tab()
        move(*args)

    monkeypatch.setattr(schema_migration_services, "_migrate_batch", tab_first)
    return migrate(desk, schema(desk, renamed=True), RENAME)


@pytest.mark.parametrize("who", ["ana", "ben"])
def test_open_tab_during_migration(desk: Desk, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    change(desk, review_required=False)
    document = desk.document()
    for labeled in (document, desk.document()):
        submit(labeled, desk.ana)
    run = with_a_tab(desk, monkeypatch, lambda: draft(document, getattr(desk, who), 1, 1, vendor="Acme"))
    assert (run.result["looked_at"], run.result["kept"]) == (2, 2)
    golds = Gold.objects.newest_of(desk.project).select_related("revision__annotation")
    assert [row.revision.value["seller"] for row in golds] == ["Acme Supplies"] * 2
    assert {row.revision.annotation.user for row in golds} == {desk.ana}
    saved = draft(document, getattr(desk, who), 1, 2, vendor="Acme")
    assert saved.version > 2  # their own draft is still what they go on from
    assert saved.conflicts == []
    assert freeze(project=desk.project, user=desk.owner, holdout_share=0).counts["documents"] == 2
    again = len(under(2))
    jobs.run_schema_migration(SchemaMigration.objects.create(**repeated(run)).pk)
    assert len(under(2)) == again


def repeated(run: SchemaMigration) -> dict[str, Any]:
    names = ("project", "from_version", "to_version", "schema_text", "mapping", "created_by")
    return {**{name: getattr(run, name) for name in names}, "dry_run": False}


def test_draft_of_open_tab_keeps_pending_review(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    document = desk.document()
    submit(document, desk.ana)
    with_a_tab(desk, monkeypatch, lambda: draft(document, desk.ben, 1, 1))
    opened = review_services.open_review(document=fresh(document), user=desk.rita)
    assert (opened.refusal, opened.author) == ("", desk.ana)
    assert opened.revision is not None
    assert opened.revision.value["seller"] == "Acme Supplies"


def test_labels_of_others_migrate_beside_a_draft(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change(desk, review_required=False)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    with_a_tab(desk, monkeypatch, lambda: draft(document, desk.ben, 0, 1))
    label = {name: inner for name, inner in gold().items() if name != "vendor"} | {"seller": "Acme Supplies"}
    annotation_services.submit(document=fresh(document), user=desk.ben, value=label, evidence={}, base_version=1)
    assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 1)


def test_draft_before_resume_hides_no_label(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change(desk, review_required=False)
    document, shared = desk.document(), desk.document(overlap=2)
    for labeled in (document, shared):
        submit(labeled, desk.ana)

    def stops(*_: Any) -> None:
        for labeled in (document, shared):
            draft(labeled, desk.ben, 0, 1)
        raise RuntimeError("the cable was pulled")

    with monkeypatch.context() as broken:
        broken.setattr(schema_migration_services, "_migrate_batch", stops)
        run = plan(desk, schema(desk, renamed=True), RENAME)
        jobs.run_schema_migration(run.pk)
    run.refresh_from_db()
    rest = schema_migration_services.resume(run=run, user=None)
    assert rest is not None
    jobs.run_schema_migration(rest.pk)
    assert Gold.objects.newest_of(desk.project).get().schema_version.number == 2
    assert Annotation.objects.filter(document=shared, schema_version__number=2, submitted=True).get().user == desk.ana


def test_submit_under_new_schema_wins_over_gold(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    change(desk, review_required=False)
    document = desk.document()
    submit(document, desk.ana)
    label = {name: inner for name, inner in gold().items() if name != "vendor"} | {"seller": "Acme"}

    def tab() -> None:
        annotation_services.submit(document=fresh(document), user=desk.ben, value=label, evidence={}, base_version=0)

    with_a_tab(desk, monkeypatch, tab)
    assert Gold.objects.newest_of(desk.project).get().revision.value["seller"] == "Acme"
    assert len(under(2)) == 1


# -- the contract's own way, without a mapping -------------------------------------------------------------------------


def test_contract_save_requeues_overlap(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    contract(desk, schema(desk))
    submit(document, desk.ben)
    assert fresh(document).state == DocumentState.IN_PROGRESS
    assert annotation_services.next_document(project=desk.project, user=desk.ben) is None
    assert annotation_services.next_document(project=desk.project, user=desk.ana) == document
    submit(document, desk.ana)
    assert (fresh(document).state, Gold.objects.count()) == (DocumentState.SUBMITTED, 1)


def test_contract_save_ends_conflicts(desk: Desk) -> None:
    change(desk, review_required=False)
    document = desk.document(overlap=2)
    submit(document, desk.ana)
    submit(document, desk.ben, vendor="Acme")
    contract(desk, schema(desk))
    assert not review_queries.pending_adjudication(desk.project).exists()
    assert fresh(document).state == DocumentState.IN_PROGRESS
    assert annotation_services.next_document(project=desk.project, user=desk.ana) == document


def test_contract_save_is_refused_during_migration(desk: Desk) -> None:
    submit(desk.document(), desk.ana)
    first = desk.project.schema_version.schema_text
    plan(desk, schema(desk), dry_run=True)
    run = plan(desk, schema(desk))
    with pytest.raises(ContractError, match="is running"):
        contract(desk, schema(desk, shortest=2))
    assert contract(desk, first).number == 1  # the instruction alone
    run.fail("the cable was pulled")
    assert contract(desk, schema(desk, shortest=2)).number == 2


def test_superseded_migration_cannot_resume(desk: Desk) -> None:
    submit(desk.document(), desk.ana)
    run = migrate(desk, schema(desk))
    SchemaMigration.objects.filter(pk=run.pk).update(status="cancelled")
    run.refresh_from_db()
    contract(desk, schema(desk, shortest=2))
    assert schema_migration_services.resume(run=run, user=None) is None
