"""Who may decide, what a decision needs, and what voids it."""

import os
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from evaluation.approvals.decisions import decide, decision_status, void_reasons
from evaluation.approvals.waivers import Waiver, open_gates
from evaluation.audit import services as audit_services
from evaluation.gates import manifest
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import create_report
from evaluation.models import Approval, AuditEntry, EvalOutput, EvalRun, GatePolicy, GateReport
from labeling import jobs as labeling_jobs
from labeling.annotation.services import open_document, submit
from labeling.models import DatasetItem, Document, Gold, SchemaVersion
from labeling.projects.services import save_contract
from labeling.schema_migration.services import start_dry_run
from slmstudio.access import Forbidden
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.errors import Refused
from slmstudio.storage import artifacts
from tests.evaluation.factories import World, confirmed, evaluated, pretend, rewrite


def tomorrow(days: int = 1) -> date:
    return timezone.localdate() + timedelta(days=days)


def approve(report: GateReport, user: User, **changes: Any) -> Approval:
    order = {
        "decision": "approved",
        "reason": "Good enough for a trial.",
        "waiver": Waiver("Two weeks of shadowing first.", tomorrow()),
        **changes,
    }
    approval = decide(report=report, user=user, **order)
    return confirmed(approval) if approval.waiver else approval


# -- who --------------------------------------------------------------------------------------------------------------


def test_only_a_manager_decides(world: World, report: GateReport) -> None:
    for user in (world.annotator, world.engineer, world.owner, world.stranger):
        for decision in ("approved", "rejected"):
            with pytest.raises(Forbidden):
                approve(report, user, decision=decision)
    assert not Approval.objects.exists()


def test_an_approval_is_in_the_audit_log(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager)
    assert approval.waiver == [
        {
            "gate": gate["key"],
            "title": gate["title"],
            "reason": "Two weeks of shadowing first.",
            "owner": "mona",
            "expires": tomorrow().isoformat(),
        }
        for gate in open_gates(report)
    ]
    assert void_reasons(approval) == []
    assert decision_status(report) == ("approved", "approved with a waiver")
    entry = AuditEntry.objects.get(action="approved")
    assert (entry.user, entry.about) == (world.manager, str(report))
    assert entry.details["packet_sha256"] == approval.manifest_sha256
    assert entry.details["waiver"] == approval.waiver
    assert (entry.details["four_eyes"], entry.details["own_part"]) == (True, "")


@pytest.mark.parametrize("started", ["evaluation", "training"])
def test_a_manager_cannot_decide_on_their_own_run(world: World, report: GateReport, started: str) -> None:
    row: Any = report.eval_run if started == "evaluation" else report.eval_run.training_run
    type(row).objects.filter(pk=row.pk).update(created_by=world.manager)
    fresh = GateReport.objects.get(pk=report.pk)
    for decision in ("approved", "rejected"):
        with pytest.raises(Refused, match=f"You were involved in .*{started}") as refusal:
            approve(fresh, world.manager, decision=decision)
        assert refusal.value.field == "decision"


def test_the_author_of_the_outputs_cannot_decide_on_a_rescoring(world: World, report: GateReport) -> None:
    first = report.eval_run
    EvalRun.objects.filter(pk=first.pk).update(created_by=world.manager)
    again = evaluated(world, pretend(2, spoil=0.05))
    rewrite(again, rescored_from=first)
    second = create_report(eval_run=EvalRun.objects.get(pk=again.pk), baseline=None, user=world.engineer)
    with pytest.raises(Refused, match=f"You were involved in evaluation {first.number}"):
        approve(second, world.manager)


# -- what it needs ----------------------------------------------------------------------------------------------------


def test_a_decision_without_what_it_needs_is_refused(world: World, report: GateReport) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("reason", {"reason": "  "}),
        ("decision", {"decision": "perhaps"}),
        ("waiver_reason", {"waiver": None}),
        ("waiver_reason", {"waiver": Waiver("  ", date(2999, 1, 1))}),
        ("waiver_expires", {"waiver": Waiver("why", date(2020, 1, 1))}),
        ("waiver_expires", {"waiver": Waiver("why", timezone.localdate())}),
    ]
    for field, changes in cases:
        with pytest.raises(Refused) as refusal:
            approve(report, world.manager, **changes)
        assert refusal.value.field == field
    assert not Approval.objects.exists()
    assert not AuditEntry.objects.filter(about=str(report), user=world.manager).exists()


def test_a_rejection_takes_no_waiver_and_a_report_is_decided_once(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager, decision="rejected", waiver=None)
    assert (approval.decision, approval.waiver) == ("rejected", None)
    assert decision_status(report) == ("rejected", "rejected")
    with pytest.raises(Refused, match="already been decided"):
        approve(report, world.manager)
    assert Approval.objects.get().decision == "rejected"


def test_a_decision_that_was_rewritten_is_not_what_the_log_has(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager)
    row = Approval.objects.filter(pk=approval.pk)
    for change in ({"waiver": None}, {"decided_by": world.engineer}, {"manifest_sha256": "0" * 64}):
        before = {name: getattr(approval, name) for name in change}
        row.update(**change)
        reasons = void_reasons(row.get(), files=False)
        assert reasons[0] == "The decision differs from its entry in the audit log.", change
        row.update(**before)
    assert void_reasons(row.get()) == []


def test_an_approval_missing_in_the_log_is_void(world: World, report: GateReport) -> None:
    approval = Approval.objects.create(
        report=report,
        decision="approved",
        reason="by hand",
        manifest_sha256=manifest.report_manifest_hash(report.manifest),
        decided_by=world.manager,
    )
    assert "The decision differs from its entry in the audit log." in void_reasons(approval)
    audit_services.record(project=world.project, user=world.manager, action="rejected", about=str(report))
    assert decision_status(report) == ("failed", "approval void")


# -- what voids it ----------------------------------------------------------------------------------------------------


def relabel(world: World, document: Document) -> None:
    """A person corrects the gold of a document."""
    opened = open_document(document=document, user=world.annotator)
    assert opened.annotation is not None
    value = {**opened.annotation.value, "vendor": document.text.split()[0]}
    submit(
        document=document,
        user=world.annotator,
        value=value,
        evidence={},
        base_version=opened.annotation.version,
    )


def of_split(world: World, split: str) -> Document:
    item = world.dataset.items.filter(split=split).select_related("document").order_by("document_id").first()
    assert item is not None
    return item.document


def correct_the_holdout(world: World, report: GateReport) -> str:
    document = of_split(world, "holdout")
    relabel(world, document)
    return f"The gold label of 1 hold-out document changed: {document.external_id}."


def skip_a_holdout_document(world: World, report: GateReport) -> str:
    document = of_split(world, "holdout")
    Document.objects.filter(pk=document.pk).update(state="skipped")
    return document.external_id


def change_the_weights(world: World, report: GateReport) -> str:
    path = artifacts.local_path(world.version.folder_key) / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"!")
    return "Model: the hash of the folder with the weights changed from "


def change_the_tokenizer(world: World, report: GateReport) -> str:
    (artifacts.local_path(world.version.folder_key) / "tokenizer.json").write_text("{}")
    return "Tokenizer: the hash of its tokenizer.json changed from "


def remove_the_weights(world: World, report: GateReport) -> str:
    folder = artifacts.local_path(world.version.folder_key)
    folder.rename(folder.with_name("elsewhere"))
    return "Model: the folder with the weights is missing."


def change_the_schema(world: World, report: GateReport) -> str:
    text = world.project.schema_version.schema_text.replace('"Vendor"', '"Seller"')
    save_contract(
        project=world.project,
        user=world.engineer,
        instruction=world.project.contract.instruction,
        schema_text=text,
        constraints=world.project.contract.constraints,
    )
    return "The schema is now v2; the report used v1."


def change_the_policy(world: World, report: GateReport) -> str:
    gates = gates_of(current_policy(project=world.project)).to_json()
    gates["gates"][1].update(threshold=0.5, title="")
    set_policy(project=world.project, user=world.manager, gates=gates)
    return "The gate policy is now version 2; the report used version 1."


def change_an_output(world: World, report: GateReport) -> str:
    path = artifacts.local_path(report.eval_run.outputs_key)
    path.write_text(path.read_text().replace('"stop"', '"length"', 1))
    return "Outputs: the hash of the file of raw outputs"


def change_what_was_asked(world: World, report: GateReport) -> str:
    path = artifacts.local_path(f"{report.eval_run.folder_key}/spec.yaml")
    path.write_text(path.read_text().replace("mode: constrained", "mode: free"))
    return "Evaluation: the stored text differs from the file."


def change_what_was_asked_in_the_database(world: World, report: GateReport) -> str:
    run: Any = report.eval_run
    run.spec = "version: 1"
    run.save(update_fields=["spec"])
    return "Evaluation: "


def change_a_verdict(world: World, report: GateReport) -> str:
    verdicts = [{**row, "status": "PASS"} for row in report.verdicts]
    GateReport.objects.filter(pk=report.pk).update(verdicts=verdicts)
    return "Verdicts: the hash of the verdict of each gate, and the result changed"


def change_whether_it_may_ship(world: World, report: GateReport) -> str:
    GateReport.objects.filter(pk=report.pk).update(passed=True)
    return "Verdicts: "


def change_the_weights_and_set_their_time_back(world: World, report: GateReport) -> str:
    path = artifacts.local_path(world.version.folder_key) / "model.safetensors"
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return "Model: the hash of the folder with the weights changed from "


def change_the_dataset_file(world: World, report: GateReport) -> str:
    path = artifacts.local_path(world.dataset.artifact_key)
    path.write_text(path.read_text().replace('"split":"train"', '"split":"validation"', 1))
    return "Dataset version: the hash of the file with every row changed from "


VOIDS: list[Callable[[World, GateReport], str]] = [
    correct_the_holdout,
    skip_a_holdout_document,
    change_the_weights,
    change_the_tokenizer,
    remove_the_weights,
    change_the_schema,
    change_the_policy,
    change_an_output,
    change_the_dataset_file,
    change_what_was_asked,
    change_what_was_asked_in_the_database,
    change_a_verdict,
    change_whether_it_may_ship,
    change_the_weights_and_set_their_time_back,
]


@pytest.mark.parametrize("change", VOIDS, ids=lambda change: change.__name__)
def test_a_changed_input_voids_an_approval(
    world: World, report: GateReport, change: Callable[[World, GateReport], str]
) -> None:
    approval = approve(report, world.manager)
    words = change(world, report)
    fresh = Approval.objects.get(pk=approval.pk)
    assert any(words in reason for reason in void_reasons(fresh)), void_reasons(fresh)
    assert any(words in reason for reason in void_reasons(fresh, files=False)), "files that were touched are read again"
    assert decision_status(fresh.report) == ("failed", "approval void")


def test_a_restored_schema_leaves_an_approval_valid(world: World, report: GateReport) -> None:
    """A migration there and back writes new revisions of the same values."""
    approval = approve(report, world.manager)
    first = world.project.schema_version.schema_text
    for text in (first.replace('"Vendor"', '"Seller"'), first):
        run = start_dry_run(project=world.project, user=world.owner, schema_text=text, mapping=[], dry_run=False)
        labeling_jobs.run_schema_migration(run.pk)
    items = DatasetItem.objects.filter(dataset=world.dataset, split="holdout")
    golds = Gold.objects.current(world.project).filter(document__in=items.values("document"))
    assert not set(golds.values_list("revision")) & set(items.values_list("revision"))
    assert void_reasons(Approval.objects.get(pk=approval.pk)) == []


@pytest.mark.parametrize(
    "change", [correct_the_holdout, change_the_weights, change_the_policy], ids=lambda change: change.__name__
)
def test_what_changed_before_the_decision_cannot_be_approved(
    world: World, report: GateReport, change: Callable[[World, GateReport], str]
) -> None:
    words = change(world, report)
    fresh = GateReport.objects.get(pk=report.pk)
    assert decision_status(fresh) == ("failed", "outdated")
    with pytest.raises(Refused) as refusal:
        approve(fresh, world.manager)
    assert refusal.value.code == "changed"
    assert words in refusal.value.message
    assert not Approval.objects.exists()


def test_another_scorer_voids_it(world: World, report: GateReport, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = approve(report, world.manager)
    monkeypatch.setattr("evaluation.approvals.decisions.SCORER_VERSION", "99")
    assert void_reasons(approval) == [f"The scorer is now version 99; the report used version {SCORER_VERSION}."]


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        (GatePolicy, {"gates": {"only_look": False, "gates": []}}, "Gate policy: the hash of the gates"),
        (
            SchemaVersion,
            {"schema_text": '{"type": "object", "properties": {"vendor": {"type": "string"}}}'},
            "Schema: the hash of the text",
        ),
    ],
)
def test_a_row_rewritten_under_its_own_hash_voids_it(
    world: World, report: GateReport, rows: Any, change: dict[str, Any], words: str
) -> None:
    approval = approve(report, world.manager)
    with connection.cursor() as cursor:  # whoever owns the database can put its guards aside
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {rows._meta.db_table} DISABLE TRIGGER USER")
    rows.objects.update(**change)
    reasons = void_reasons(Approval.objects.get(pk=approval.pk))
    assert any(words in reason for reason in reasons), reasons


def test_an_output_changed_in_the_database_voids_it(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager)
    output = EvalOutput.objects.filter(eval_run=report.eval_run).first()
    assert output is not None
    EvalOutput.objects.filter(pk=output.pk).update(raw="{}")
    reasons = void_reasons(approval)
    assert "Outputs: the stored rows differ from the file." in reasons
    assert any(reason.startswith("Scores: ") for reason in reasons), "counted again they are others"


def test_a_rewritten_manifest_voids_an_approval(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager)
    GateReport.objects.filter(pk=report.pk).update(manifest={**report.manifest, "tokenizer": "0" * 64})
    reasons = void_reasons(Approval.objects.get(pk=approval.pk))
    assert "The manifest differs from the one that the decision was made on." in reasons


def test_a_corrected_training_label_voids_nothing(world: World, report: GateReport) -> None:
    approval = approve(report, world.manager)
    relabel(world, of_split(world, "train"))
    assert void_reasons(approval) == []
