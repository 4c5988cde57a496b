"""Gate reports that are created at the same time, or whose inputs change while verdicts are computed."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from evaluation.gates import services
from evaluation.gates.policy.services import current_policy, gates_of, set_policy
from evaluation.gates.services import ATTEMPTS, create_report
from evaluation.models import AuditEntry, EvalRun, GateReport
from evaluation.regression_suite.services import pin
from evaluation.stats import alpha_level
from labeling.models import Document, Project
from tests.evaluation.factories import World, evaluated, make_world, pretend, right


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def together(*calls: Callable[[], Any]) -> None:
    """Runs calls at the same time, each in a thread with its own connection."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> None:
        try:
            barrier.wait()
            call()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def report_on(run: EvalRun, world: World) -> Callable[[], GateReport]:
    pk = run.pk
    return lambda: create_report(eval_run=EvalRun.objects.get(pk=pk), baseline=None, user=world.engineer)


def stricter(world: World, threshold: float) -> None:
    policy = gates_of(current_policy(project=world.project)).to_json()
    policy["gates"][0] |= {"threshold": threshold, "title": ""}
    set_policy(project=world.project, user=world.manager, gates=policy)


def test_the_same_evaluation_has_one_report(world: World) -> None:
    run = evaluated(world, right)
    together(*[report_on(run, world)] * 4)
    report = GateReport.objects.get()
    assert (report.number, report.holdout_number) == (1, 1)
    assert AuditEntry.objects.filter(action="created", about__startswith="gate report").count() == 1


def test_numbers_have_no_gaps_and_each_verdict_has_the_alpha_of_its_number(world: World) -> None:
    runs = [evaluated(world, pretend(seed, spoil=0.2)) for seed in range(4)]
    together(*(report_on(run, world) for run in runs))
    reports = GateReport.objects.order_by("number")
    assert [report.number for report in reports] == [1, 2, 3, 4]
    assert sorted(report.holdout_number for report in reports) == [1, 2, 3, 4]
    for report in reports:
        confidences = {row["confidence"] for row in report.verdicts if row["gate"]["metric"] == "schema_valid_rate"}
        assert confidences == {1 - alpha_level(report.holdout_number)}


def test_reports_of_one_evaluation_under_two_baselines_spend_alpha_twice(world: World) -> None:
    base, tuned = evaluated(world, right, tuned=False), evaluated(world, right)
    together(
        lambda: create_report(eval_run=EvalRun.objects.get(pk=tuned.pk), baseline=None, user=world.engineer),
        lambda: create_report(
            eval_run=EvalRun.objects.get(pk=tuned.pk), baseline=EvalRun.objects.get(pk=base.pk), user=world.engineer
        ),
    )
    assert sorted(GateReport.objects.values_list("number", "holdout_number")) == [(1, 1), (2, 2)]


def while_judging(monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None]) -> list[int]:
    """Calls ``change`` with the number of the attempt after verdicts were computed; returns the attempts."""
    judge = services._build_report
    attempts: list[int] = []

    def judged(*args: Any) -> GateReport:
        report = judge(*args)
        attempts.append(len(attempts) + 1)
        change(attempts[-1])
        return report

    monkeypatch.setattr(services, "_build_report", judged)
    return attempts


def test_the_project_is_not_locked_while_verdicts_are_computed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lock(attempt: int) -> None:
        with transaction.atomic():
            Project.objects.select_for_update(nowait=True).get(pk=world.project.pk)

    while_judging(monkeypatch, lambda attempt: together(lambda: lock(attempt)))
    run = evaluated(world, right)
    assert create_report(eval_run=run, baseline=None, user=world.engineer).number == 1


def test_a_policy_that_changes_while_verdicts_are_computed_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = while_judging(monkeypatch, lambda attempt: stricter(world, 0.97) if attempt == 1 else None)
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert attempts == [1, 2]
    assert report.policy == current_policy(project=world.project)
    assert report.verdicts[0]["gate"]["threshold"] == 0.97
    assert GateReport.objects.count() == 1


def test_a_pin_that_is_set_while_verdicts_are_computed_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    document = Document.objects.filter(project=world.project, holdout=True).earliest("pk")
    gates = [{"key": "pinned", "metric": "pinned_broken", "operator": "<=", "threshold": 0}]
    set_policy(project=world.project, user=world.manager, gates=gates)
    run = evaluated(world, right)

    def pin_one(attempt: int) -> None:
        if attempt == 1:
            pin(project=world.project, document=document, user=world.engineer)

    while_judging(monkeypatch, pin_one)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    assert (report.passed, report.verdicts[0]["n"], report.holdout_number) == (True, 1, 1)


def test_a_report_is_created_under_the_lock_where_the_basis_keeps_changing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = while_judging(monkeypatch, lambda attempt: stricter(world, 0.9 + attempt / 100))
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert attempts == list(range(1, ATTEMPTS + 2))
    assert (report.number, report.holdout_number) == (1, 1)
