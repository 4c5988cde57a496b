"""Policies and gate reports."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from evaluation.approvals.decisions import decide, withdraw
from evaluation.approvals.waivers import Waiver
from evaluation.gates.baselines import default_baseline
from evaluation.gates.holdout.evaluation_numbers import earlier_reports, next_evaluation_number
from evaluation.gates.policy.definition import GateError
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.prerequisites import prerequisites
from evaluation.gates.services import create_report
from evaluation.gates.verdicts import Verdict
from evaluation.models import AuditEntry, EvalOutput, EvalRun, GatePolicy, GateReport
from evaluation.regression_suite import services as regression_suite_services
from evaluation.runs.services import start_evaluation
from labeling.datasets import freeze
from labeling.models import DatasetItem, Document
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from tests.evaluation.factories import World, broken, evaluated, make_base_model, make_version, pretend, rewrite, right
from training.models import TrainingRun


def changed(policy: GatePolicy, key: str, threshold: float) -> dict[str, Any]:
    """The policy's gates with one threshold changed."""
    gates = gates_of(policy).to_json()
    for gate in gates["gates"]:
        if gate["key"] == key:
            gate.update(threshold=threshold, title="")
    return gates


def verdict_of(report: GateReport, key: str) -> Verdict:
    return next(Verdict.from_dict(row) for row in report.verdicts if row["gate"]["key"] == key)


# -- policies ---------------------------------------------------------------------------------------------------------


# -- reports ----------------------------------------------------------------------------------------------------------


def test_the_counts_of_a_report_are_those_of_the_outputs(world: World) -> None:
    base, tuned = evaluated(world, broken, tuned=False), evaluated(world, pretend(2, spoil=0.2, invalid=0.2))
    report = create_report(eval_run=tuned, baseline=base, user=world.engineer)
    valid = EvalOutput.objects.filter(eval_run=tuned, valid=True).count()
    schema_valid = verdict_of(report, "schema-valid")
    assert (schema_valid.k, schema_valid.n) == (valid, 12)
    assert verdict_of(report, "no-regression").n == 12
    assert report.sentence.startswith("Not ready to deploy.")
    assert not report.passed


def test_a_report_under_another_policy_counts_again(world: World) -> None:
    run, policy = evaluated(world, right), current_policy(project=world.project)
    first = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert (first.holdout_number, verdict_of(first, "no-regression").status) == (1, "NOT PROVEN")
    assert set_policy(project=world.project, user=world.manager, gates=policy.gates).pk == policy.pk
    assert create_report(eval_run=run, baseline=None, user=world.manager).pk == first.pk
    assert AuditEntry.objects.filter(action="created", about__startswith="gate report").count() == 1
    with pytest.raises(GateError) as refusal:
        set_policy(project=world.project, user=world.manager, gates=changed(policy, "schema-valid", 99))
    assert refusal.value.field == "gates[0].threshold"
    set_policy(project=world.project, user=world.manager, gates=changed(policy, "field-errors", 0.2))
    for _ in range(2):
        assert create_report(eval_run=run, baseline=None, user=world.engineer).holdout_number == 2


def test_the_number_of_a_candidate_is_fixed_when_it_ends(world: World) -> None:
    """A candidate's place is fixed when its evaluation ends, whichever is judged first."""
    runs = [evaluated(world, pretend(seed, spoil=0.2)) for seed in range(3)] + [evaluated(world, right)]
    assert [next_evaluation_number(run) for run in runs] == [1, 2, 3, 4]
    assert create_report(eval_run=runs[3], baseline=None, user=world.engineer).holdout_number == 4
    assert [next_evaluation_number(run) for run in runs[:3]] == [1, 2, 3]
    assert create_report(eval_run=runs[0], baseline=None, user=world.engineer).holdout_number == 1


def test_a_baseline_does_not_count_without_a_report(world: World) -> None:
    base, free = evaluated(world, broken, tuned=False), evaluated(world, broken, tuned=False, mode="free")
    tuned = evaluated(world, right)
    assert create_report(eval_run=tuned, baseline=base, user=world.engineer).holdout_number == 1
    # one of two that could be chosen among, after one look
    assert create_report(eval_run=free, baseline=None, user=world.engineer).holdout_number == 3
    assert next_evaluation_number(evaluated(world, right)) == 3


# -- slices, fields, pins ---------------------------------------------------------------------------------------------


def judged(world: World, run: EvalRun, *gates: dict[str, Any]) -> dict[str, Verdict]:
    set_policy(project=world.project, user=world.manager, gates=list(gates))
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    return {row["gate"]["key"]: Verdict.from_dict(row) for row in report.verdicts}


def test_a_gate_can_be_about_a_tag_or_a_value_of_metadata(world: World) -> None:
    held_out = list(Document.objects.filter(project=world.project, holdout=True).order_by("pk"))
    for number, document in enumerate(held_out):
        document.metadata = {"supplier": "ACME" if number < 5 else "Other", "pages": number % 2}
        document.save(update_fields=["metadata"])
    run = evaluated(world, right)
    EvalOutput.objects.filter(eval_run=run, document__in=held_out[:3]).update(tags=["poor_scan"])
    gate = {"metric": "document_error_rate", "operator": "<=", "threshold": 0.2}
    verdicts = judged(
        world,
        run,
        {**gate, "key": "all"},
        {**gate, "key": "tag", "slice": "poor_scan"},
        {**gate, "key": "acme", "slice": "metadata.supplier=ACME"},
        {**gate, "key": "pages", "slice": "metadata.pages=1"},
        {**gate, "key": "none", "slice": "metadata.supplier=Nobody"},
    )
    assert {key: verdict.n for key, verdict in verdicts.items()} == {
        "all": 12,
        "tag": 3,
        "acme": 5,
        "pages": 6,
        "none": 0,
    }


def test_a_gate_can_be_about_one_field(world: World) -> None:
    def wrong_total(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": dumps({**row["gold"], "total_amount": Decimal("0.01")})}

    gate = {"metric": "field_error_rate", "operator": "<=", "threshold": 0.3}
    run = evaluated(world, wrong_total)
    verdicts = judged(
        world,
        run,
        {**gate, "key": "total", "field": "total_amount"},
        {**gate, "key": "date", "field": "date"},
        {"key": "recall", "metric": "recall", "operator": ">=", "threshold": 0.7, "field": "date"},
        {"key": "rules", "metric": "invariants_hold_rate", "operator": ">=", "threshold": 0.7},
    )
    assert (verdicts["total"].status, verdicts["total"].k) == ("FAIL", 12)
    assert {verdicts[key].status for key in ("date", "recall", "rules")} == {"PASS"}


PINNED = {"key": "pinned", "metric": "pinned_broken", "operator": "<=", "threshold": 0}


@pytest.mark.parametrize("only_look", [False, True])
def test_changed_pins_give_a_new_report_with_the_same_number(world: World, only_look: bool) -> None:
    run = evaluated(world, right)
    set_policy(project=world.project, user=world.manager, gates={"gates": [PINNED], "only_look": only_look})

    def reported(eval_run: EvalRun) -> GateReport:
        return create_report(eval_run=eval_run, baseline=None, user=world.engineer)

    first = reported(run)
    assert reported(run) == first
    document = Document.objects.filter(project=world.project, holdout=True).earliest("pk")
    regression_suite_services.pin(project=world.project, document=document, user=world.engineer)
    second = reported(run)
    assert (second.number, second.holdout_number) == (first.number + 1, first.holdout_number)
    assert verdict_of(second, "pinned").status == "PASS"
    assert reported(run) == second
    training = DatasetItem.objects.filter(dataset=world.dataset, split="train").earliest("document_id").document
    regression_suite_services.pin(project=world.project, document=training, user=world.engineer)
    evaluated(world, broken, split="train", tuned=False)
    unchecked = verdict_of(reported(run), "pinned")
    assert (unchecked.status, unchecked.n) == ("NOT PROVEN", 1), "only another model has answered the training document"
    evaluated(world, right, split="train")
    checked = verdict_of(reported(run), "pinned")
    assert (checked.status, checked.n) == ("PASS", 2)
    broke = reported(evaluated(world, broken))
    assert (broke.holdout_number, verdict_of(broke, "pinned").status) == (2, "NOT PROVEN" if only_look else "FAIL")


def test_a_holdout_that_grew_is_still_the_same_holdout_with_other_baselines(world: World) -> None:
    create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    before = evaluated(world, broken, tuned=False)
    document = world.project.documents.filter(holdout=False).earliest("pk")
    document.holdout = True
    document.save(update_fields=["holdout"])
    grown = freeze.freeze(project=world.project, user=world.engineer, validation_share=0.1)
    assert grown.holdout_sha256 != world.dataset.holdout_sha256
    run = evaluated(world, right, dataset=grown, tuned=False)
    assert refused(world, run, before) == "other_holdout", "it answered other documents"
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    # One of two evaluations of the base model that could be chosen among, after one look.
    assert (report.holdout_number, earlier_reports(run)[-1]) == (3, report)
    tuned = evaluated(world, right, dataset=grown)
    with pytest.raises(Refused, match=document.external_id) as refusal:
        create_report(eval_run=tuned, baseline=None, user=world.engineer)
    assert refusal.value.field == "eval_run", "it was trained on what is held out now"


def test_no_report_on_unusable_evaluations(world: World) -> None:
    done, validation = evaluated(world, right), evaluated(world, right, split="validation")
    waiting: EvalRun = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model
    )
    for eval_run, baseline, field, code in (
        (waiting, None, "eval_run", "not_finished"),
        (validation, None, "eval_run", "not_holdout"),
        (done, done, "baseline", "same_evaluation"),
        (done, validation, "baseline", "not_finished"),
        (done, waiting, "baseline", "not_finished"),
        (done, evaluated(world, broken, tuned=False, mode="free"), "baseline", "other_mode"),
    ):
        with pytest.raises(Refused) as refusal:
            create_report(eval_run=eval_run, baseline=baseline, user=world.engineer)
        assert (refusal.value.field, refusal.value.code) == (field, code)
    assert not GateReport.objects.exists()


# -- what it is held against ------------------------------------------------------------------------------------------


def approve(world: World, run: EvalRun) -> GateReport:
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    waiver = Waiver("a trial", timezone.localdate() + timedelta(days=30))
    decide(report=report, user=world.manager, decision="approved", reason="yes", waiver=waiver)
    return report


def trained_again(world: World) -> None:
    """Another training, whose model is what ``evaluated`` evaluates from now on."""
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)


def refused(world: World, run: EvalRun, baseline: EvalRun) -> str:
    with pytest.raises(Refused) as refusal:
        create_report(eval_run=run, baseline=baseline, user=world.engineer)
    assert refusal.value.field == "baseline"
    assert not GateReport.objects.filter(eval_run=run, baseline=baseline).exists()
    return refusal.value.code


def test_the_base_model_is_the_baseline_before_any_approval(world: World, tmp_path: Path) -> None:
    tuned = evaluated(world, right)
    trained_again(world)
    again = evaluated(world, right)
    assert refused(world, again, tuned) == "wrong_baseline"
    own = world.base_model
    world.base_model = make_base_model(tmp_path / "other", "other", "Other")
    other = evaluated(world, broken, tuned=False)
    world.base_model = own
    assert default_baseline(again) is None
    assert create_report(eval_run=tuned, baseline=other, user=world.engineer).baseline == other, "there is no other"
    base = evaluated(world, broken, tuned=False)
    assert default_baseline(again) == base
    assert refused(world, again, other) == "wrong_baseline"
    assert create_report(eval_run=again, baseline=base, user=world.engineer).baseline == base


def test_the_model_approved_last_is_the_baseline(world: World) -> None:
    base, first = evaluated(world, broken, tuned=False), evaluated(world, right)
    approve(world, first)
    assert default_baseline(first) == base, "a model is not held against itself"
    trained_again(world)
    candidate = evaluated(world, right)
    assert refused(world, candidate, base) == "wrong_baseline"
    assert default_baseline(candidate) == first
    assert create_report(eval_run=candidate, baseline=first, user=world.engineer).baseline == first
    approved = approve(world, candidate)
    trained_again(world)
    third = evaluated(world, right)
    assert refused(world, third, base) == "wrong_baseline"
    assert default_baseline(third) == candidate
    withdraw(report=approved, user=world.manager, reason="It broke in production.")
    assert default_baseline(third) == first, "what was taken back is not in use"


def test_an_encoder_is_compared_with_a_baseline_of_any_decoding_mode(world: World, tmp_path: Path) -> None:
    first = evaluated(world, right, mode="free")
    approve(world, first)
    world.base_model = make_base_model(tmp_path / "encoder", "encoder", "Encoder")
    rewrite(world.base_model, family="encoder")
    world.base_model.refresh_from_db()
    trained_again(world)
    candidate = evaluated(world, right)
    assert default_baseline(candidate) == first
    assert create_report(eval_run=candidate, baseline=first, user=world.engineer).baseline == first


def test_an_existing_report_is_returned_after_other_approvals(world: World) -> None:
    base, first = evaluated(world, broken, tuned=False), evaluated(world, right)
    report = create_report(eval_run=first, baseline=base, user=world.engineer)
    trained_again(world)
    approve(world, evaluated(world, right))
    assert create_report(eval_run=first, baseline=base, user=world.engineer) == report


def test_prerequisites_name_the_order_with_the_hold_out_last(world: World) -> None:
    empty = create_project(owner=world.owner, name="Empty", slug="empty", template="invoice")
    assert [step.is_done for step in prerequisites(empty).steps] == [False, False, False]
    steps = prerequisites(world.project)
    assert steps.next == steps.steps[-1]
    training = world.training_run
    rewrite(training, project=empty, status="queued")
    assert prerequisites(empty).steps[1].url == TrainingRun.objects.get(pk=training.pk).get_absolute_url()
    rewrite(training, project=world.project, status="done")
    queued = start_evaluation(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        model=world.base_model,
        split="holdout",
        confirm_holdout=True,
    )
    assert (running := prerequisites(world.project).next) is not None
    assert running.url == queued.get_absolute_url()
    evaluated(world, right)
    assert prerequisites(world.project).next is None
