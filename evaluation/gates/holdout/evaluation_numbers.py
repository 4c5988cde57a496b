"""Alpha spending: each hold-out evaluation has a number, and each number its own alpha.

A hold-out evaluation is an evaluation of a trained model whose answers someone could see, with or without a gate
report: choosing the best of ten is ten evaluations. It counts finished or not, because the answers of a cancelled or
failed one exist, whatever pages show. Its number is fixed when it ends, so a later choice changes nothing. Base models
and endpoints are baselines; one of them counts from its own gate report on. A second report on an evaluation, under
another policy, baseline or production model, is another hold-out evaluation.

Evaluation k has alpha / 2^k (``stats.alpha_level``), so that all of them together stay below alpha.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.services import gates_of
from evaluation.models import EvalOutput, EvalRun, GateReport
from evaluation.models.runs import TRAINED_HERE
from labeling.models import DatasetItem, DatasetVersion, Project, Split
from slmstudio.runs.models import Status


def overlapping_versions(eval_run: EvalRun) -> Any:
    """Dataset versions whose hold-out has a document of this evaluation's hold-out: one that grew is the same one."""
    documents = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    return DatasetItem.objects.filter(split=Split.HOLDOUT, document__in=documents).values("dataset")


def earlier_reports(eval_run: EvalRun) -> list[GateReport]:
    """Gate reports on any of this evaluation's hold-out documents, oldest first."""
    reports = GateReport.objects.filter(
        project_id=eval_run.project_id, eval_run__dataset__in=overlapping_versions(eval_run)
    )
    return list(reports.select_related("eval_run", "policy").order_by("number"))


def holdout_evaluations(eval_run: EvalRun) -> Any:
    """Evaluations with answers to any of this evaluation's hold-out documents: finished ones, and running, cancelled or
    failed ones with an output."""
    versions = overlapping_versions(eval_run)
    runs = EvalRun.objects.filter(project_id=eval_run.project_id, dataset__in=versions, benchmark=None)
    answered = Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk")))
    return runs.on_holdout().filter(Q(status=Status.DONE) | Q(answered))


def trained_candidates(eval_run: EvalRun) -> list[EvalRun]:
    """Evaluations of trained models among ``holdout_evaluations``, in the order in which they ended."""
    runs = holdout_evaluations(eval_run).of_trained_models()
    columns = ("pk", "number", "finished_at", "created_at", "training_run_id", "project_id")
    return sorted(runs.only(*columns), key=lambda run: (ended_at(run), run.pk))


def ended_at(run: EvalRun) -> datetime:
    """When an evaluation ended; when it was created, if it is running."""
    when: datetime = run.finished_at or run.created_at
    return when


def next_evaluation_number(eval_run: EvalRun) -> int:
    """The number of the hold-out evaluation that a gate report on this evaluation would have, counted from 1."""
    trained = {run.pk: run for run in trained_candidates(eval_run)}
    events: list[tuple[datetime, int]] = [(ended_at(run), run.pk) for run in trained.values()]
    reported: set[int] = set()
    for report in _without_reissues(earlier_reports(eval_run)):
        if report.eval_run_id in trained and report.eval_run_id not in reported:
            reported.add(report.eval_run_id)  # counted as an evaluation
        else:
            events.append((report.created_at, 0))
    if eval_run.pk not in trained:
        return len(events) + 1 + _unreported_alternatives(eval_run)
    if eval_run.pk in reported:
        return len(events) + 1
    return [pk for _, pk in sorted(events)].index(eval_run.pk) + 1


def upcoming_number(project: Project) -> int:
    """The number that the next evaluation of a trained model on the project's newest hold-out will have."""
    dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    if dataset is None:
        return 1
    return number_of_next(EvalRun(project=project, dataset=dataset))


def number_of_next(run: EvalRun) -> int:
    """The number that another evaluation of a trained model on the hold-out of ``run`` will have, if those that are
    queued or running end before it."""
    trained = {candidate.pk for candidate in trained_candidates(run)}
    live = EvalRun.objects.filter(project=run.project, dataset__in=overlapping_versions(run)).on_holdout().live()
    trained |= set(live.of_trained_models().values_list("pk", flat=True))
    reports = _without_reissues(earlier_reports(run))
    return 1 + len(trained) + sum(report.eval_run_id not in trained for report in reports)


def _without_reissues(reports: list[GateReport]) -> list[GateReport]:
    """Without those that only follow a change of the regression suite or of resources: they have the same number."""
    first: dict[tuple[int, int, int | None, int | None], GateReport] = {}
    for report in reports:
        key = (report.policy_id, report.eval_run_id, report.baseline_id, report.production_run_id)
        first.setdefault(key, report)
    return list(first.values())


def _unreported_alternatives(eval_run: EvalRun) -> int:
    """Other evaluations of base models or endpoints without a report: this one may have been chosen among them."""
    runs = holdout_evaluations(eval_run).exclude(TRAINED_HERE)
    return int(runs.exclude(pk=eval_run.pk).filter(gate_reports=None).count())


def exhausted_reason(eval_run: EvalRun, policy: GateSet, *, but: Iterable[GateReport] = ()) -> str:
    """Why no alpha is left for a gate report on this evaluation; "" where some is.

    ``but``: reports with the same number, which do not count.
    """
    own = {report.pk for report in but}
    earlier = [report for report in earlier_reports(eval_run) if report.pk not in own]
    if any(report.holdout_number == 1 and gates_of(report.policy).single_evaluation for report in earlier):
        return "an earlier single-evaluation policy used the full error budget of this hold-out: use a new hold-out"
    if policy.single_evaluation and earlier:
        return "this hold-out was evaluated before, and the policy allows one evaluation: use a new hold-out"
    return ""
