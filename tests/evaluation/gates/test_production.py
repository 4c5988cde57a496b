"""The gate on non-inferiority: which model it compares with, and what a report records of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from evaluation.approvals import decisions
from evaluation.approvals.waivers import open_gates
from evaluation.approvals.warnings import warnings
from evaluation.gates import manifest
from evaluation.gates.checks import junit_xml, outcome_of, run_gates
from evaluation.gates.policy.definition import Gate, GateSet
from evaluation.gates.policy.services import set_policy
from evaluation.gates.production import ProductionModel, current_model, stable_model
from evaluation.gates.services import create_report
from evaluation.models import Approval, EvalOutput, EvalRun, GateReport
from evaluation.reproduction.services import _changed_verdicts
from labeling.datasets.freeze import freeze
from labeling.models import Document
from tests.evaluation.factories import World, broken, evaluated, make_version, pretend, rewrite, right
from tests.shared_rows import shared_fixture

#: outputs that are open count for no later model
closed = partial(evaluated, is_open=False)

MARGIN = Gate("margin", "non_inferiority", ">=", 0.3, compared_with="production")
VALID = Gate("valid", "schema_valid_rate", ">=", 0.5)


@contextmanager
def in_production(run: EvalRun, mode: str = "") -> Iterator[None]:
    """As serving says what answers."""

    def stable(project: Any) -> ProductionModel:
        return ProductionModel(run.backend.key, mode, run.model_label, "version 3")

    stable_model.register(stable)
    try:
        yield
    finally:
        stable_model.unregister(stable)


@shared_fixture
def policy(world: World) -> GateSet:
    gates = GateSet((VALID, MARGIN))
    set_policy(project=world.project, user=world.manager, gates=gates)
    return gates


def verdict(report: GateReport) -> dict[str, Any]:
    return next(row for row in report.verdicts if row["gate"]["key"] == "margin")


def report_on(run: EvalRun, world: World) -> GateReport:
    return create_report(eval_run=run, baseline=None, user=world.engineer)


def next_version(world: World, say: Any = right) -> EvalRun:
    """Another fine-tuned model, evaluated."""
    world.training_run, world.version = make_version(world.project, world.engineer, world.dataset, world.base_model)
    return closed(world, say)


def test_without_a_production_model_it_is_inapplicable_and_holds_nothing_up(world: World, policy: GateSet) -> None:
    report = report_on(closed(world, right), world)
    assert (verdict(report)["status"], verdict(report)["measured"], report.passed) == ("INAPPLICABLE", None, True)
    assert (report.production_run, report.production, open_gates(report)) == (None, {}, [])
    assert "production" not in report.manifest
    outcome = outcome_of(report)
    assert (outcome.status, [row["code"] for row in outcome.as_dict()["gates"]]) == ("PASS", [0, 0])
    assert '<testsuites tests="2" failures="0" errors="0" skipped="1">' in junit_xml(outcome)
    with in_production(report.eval_run):
        assert verdict(report_on(report.eval_run, world))["status"] == "INAPPLICABLE", "it is not compared with itself"
    set_policy(project=world.project, user=world.manager, gates=GateSet((MARGIN,)))
    assert not report_on(closed(world, right), world).passed, "inapplicable gates alone pass nothing"


def test_a_check_on_validation_compares_on_validation(world: World, policy: GateSet) -> None:
    base = closed(world, right, tuned=False, split="validation")
    candidate = closed(world, right, split="validation")
    with in_production(base):
        [_, margin] = run_gates(eval_run=candidate, baseline=None, user=world.engineer).verdicts
    assert (margin["gate"]["key"], margin["n"]) == ("margin", candidate.outputs.count())


def test_it_compares_with_the_model_that_was_approved_last(world: World, policy: GateSet) -> None:
    first = closed(world, pretend(1, spoil=0.2))
    approved = report_on(first, world)
    decisions.decide(report=approved, user=world.manager, decision=Approval.Decision.APPROVED, reason="Good.")
    assert (model := current_model(world.project)) is not None
    assert (model.key, model.mode) == (first.backend.key, "constrained")
    candidate = next_version(world)
    report = report_on(candidate, world)
    margin = verdict(report)
    assert (margin["status"], report.production_run, margin["n"]) == ("PASS", first, 12)
    assert margin["measured"] > 0 > margin["low"]
    assert margin["confidence"] == 1 - 0.05 / 2**report.holdout_number
    facts = report.production
    assert (facts["evaluation"], facts["outputs_sha256"]) == (first.number, first.outputs_sha256)
    assert [side["evaluation"] for side in facts["sides"]] == [candidate.number, first.number]
    assert all(side["p95_ms"] > 0 and side["hardware"] == "cpu" for side in facts["sides"])
    checks = {check.name: check.equal for check in manifest.verify(report)}
    assert checks.items() >= dict.fromkeys(("production", "production_scores", "production_facts"), True).items()
    decisions.withdraw(report=approved, user=world.manager, reason="A mistake.")
    assert current_model(world.project) is None


def test_what_is_deployed_comes_before_what_was_approved(world: World, policy: GateSet) -> None:
    rewrite(world.project.contract, constraints={"hardware_price_per_hour": 1.2, "currency": "EUR"})
    first = closed(world, right)
    approved = report_on(first, world)
    decisions.decide(report=approved, user=world.manager, decision=Approval.Decision.APPROVED, reason="Good.")
    base = closed(world, right, tuned=False)
    candidate = next_version(world, broken)
    with in_production(base):
        report = report_on(candidate, world)
        assert report_on(candidate, world) == report
    assert (report.production_run, verdict(report)["status"]) == (base, "FAIL")
    assert report.production["currency"] == "EUR"
    for side in report.production["sides"]:
        assert side["cost_per_thousand"] == pytest.approx(1000 * 1.2 / 3600 / 2.8)
    again = report_on(candidate, world)
    assert (again.production_run, again.holdout_number) == (first, report.holdout_number + 1), "another evaluation"


def test_a_production_model_that_was_not_evaluated_proves_nothing(world: World, policy: GateSet) -> None:
    """Otherwise the gate would be passed by not evaluating it."""
    base = closed(world, right, tuned=False, split="validation")
    with in_production(base):
        report = report_on(closed(world, right), world)
    assert (verdict(report)["status"], report.passed) == ("NOT PROVEN", False)
    other_mode = closed(world, right, tuned=False, mode=EvalRun.Mode.FREE)
    with in_production(other_mode, mode=EvalRun.Mode.CONSTRAINED):
        assert verdict(report_on(next_version(world), world))["status"] == "NOT PROVEN"


def test_only_documents_with_the_same_gold_in_both_are_paired(world: World, policy: GateSet) -> None:
    tuned = closed(world, right)
    more = Document.objects.filter(project=world.project, holdout=False)[:4]
    Document.objects.filter(pk__in=[document.pk for document in more]).update(holdout=True)
    world.dataset = freeze(project=world.project, user=world.engineer, validation_share=0.1)
    candidate = closed(world, right, tuned=False)
    with in_production(tuned):
        report = report_on(candidate, world)
    assert (report.production_run, verdict(report)["n"], candidate.outputs.count()) == (tuned, 12, 16)
    assert "without 4 documents" in verdict(report)["sentence"]


def test_a_manager_is_warned_where_another_model_is_in_production_by_now(world: World, policy: GateSet) -> None:
    base, other = closed(world, right, tuned=False), closed(world, right)
    candidate = next_version(world)
    alone = report_on(candidate, world)
    with in_production(base):
        report = report_on(candidate, world)
        assert not [warning for warning in warnings(report) if "production" in warning]
        assert [warning for warning in warnings(alone) if "compares with no production model" in warning]
    with in_production(other):
        assert [warning for warning in warnings(report) if f"with {report.production['model']}" in warning]
    with in_production(candidate):
        assert not [warning for warning in warnings(report) if "production" in warning]


def test_a_reproduction_compares_with_what_was_in_production_then(world: World, policy: GateSet) -> None:
    base = closed(world, right, tuned=False)
    candidate = closed(world, broken)
    alone = report_on(candidate, world)
    with in_production(base):
        report = report_on(candidate, world)
    assert verdict(report)["status"] == "FAIL"
    for judged in (alone, report):
        rows = list(EvalOutput.objects.filter(eval_run=candidate))
        with in_production(candidate):
            assert _changed_verdicts(judged, rows) == []
