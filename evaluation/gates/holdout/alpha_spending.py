"""Looks at a hold-out: every one has a number, and the number has an error level of its own.

A look is a candidate whose answers to the hold-out somebody could see: an evaluation of a trained model, judged or not,
because whoever sees ten and has the best one judged has looked ten times; and finished or not, because the answers of
one that was cancelled or failed lie there all the same, whatever pages show of them. Its place among them is fixed when
it ends, so that choosing among them afterwards gains nothing. Base models and endpoints are what candidates are held
against; one of them is a look from the moment it is judged itself, and so is judging an evaluation once more, under
another policy or against another baseline.

Look k runs at the level alpha / 2^k (``stats.look_level``), so that all looks together stay below alpha.
"""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q

from evaluation.models import EvalOutput, EvalRun, GateReport
from labeling.models import DatasetItem, DatasetVersion, Split
from slmstudio.runs.models import Status


def versions(eval_run: EvalRun) -> Any:
    """Dataset versions that hold out any document of this run's hold-out: one that grew is still the same one."""
    documents = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    return DatasetItem.objects.filter(split=Split.HOLDOUT, document__in=documents).values("dataset")


def looks(eval_run: EvalRun) -> list[GateReport]:
    """Reports so far that looked at any of this run's hold-out documents, oldest first."""
    reports = GateReport.objects.filter(project_id=eval_run.project_id, eval_run__dataset__in=versions(eval_run))
    return list(reports.select_related("eval_run", "policy").order_by("number"))


def seen(eval_run: EvalRun) -> Any:
    """Evaluations with answers to any of this run's hold-out documents that somebody could see: finished ones, and
    those at work, cancelled or failed that had been given an answer."""
    runs = EvalRun.objects.filter(project_id=eval_run.project_id, dataset__in=versions(eval_run), benchmark=None)
    answered = Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk")))
    return runs.on_holdout().filter(Q(status=Status.DONE) | Q(answered))


def candidates(eval_run: EvalRun) -> list[EvalRun]:
    """Evaluations of trained models with answers to any of this run's hold-out documents, in the order they ended."""
    found = seen(eval_run).filter(training_run__isnull=False)
    columns = ("pk", "number", "finished_at", "created_at", "training_run_id", "project_id")
    return sorted(found.only(*columns), key=lambda run: (ended(run), run.pk))


def ended(run: EvalRun) -> datetime:
    """When an evaluation ended; of one at work, when it was asked for."""
    when: datetime = run.finished_at or run.created_at
    return when


def next_look(eval_run: EvalRun) -> int:
    """The number of the look that judging this evaluation now is, counted from 1."""
    trained = {run.pk: run for run in candidates(eval_run)}
    events: list[tuple[datetime, int]] = [(ended(run), run.pk) for run in trained.values()]
    judged: set[int] = set()
    for report in _first_of_each(looks(eval_run)):
        if report.eval_run_id in trained and report.eval_run_id not in judged:
            judged.add(report.eval_run_id)  # its evaluation is the look
        else:
            events.append((report.created_at, 0))
    if eval_run.pk not in trained:
        return len(events) + 1 + _unjudged_like(eval_run)
    if eval_run.pk in judged:
        return len(events) + 1
    return [pk for _, pk in sorted(events)].index(eval_run.pk) + 1


def upcoming(dataset: DatasetVersion) -> int:
    """The number of the look that the next evaluation of a trained model on this version's hold-out is."""
    run = EvalRun(project_id=dataset.project_id, dataset=dataset)
    trained = {one.pk for one in candidates(run)}
    return 1 + len(trained) + sum(report.eval_run_id not in trained for report in _first_of_each(looks(run)))


def _first_of_each(reports: list[GateReport]) -> list[GateReport]:
    """Without those made again because answers to pinned documents changed: they are the same look."""
    found: dict[tuple[int, int, int | None], GateReport] = {}
    for report in reports:
        found.setdefault((report.policy_id, report.eval_run_id, report.baseline_id), report)
    return list(found.values())


def _unjudged_like(eval_run: EvalRun) -> int:
    """Other evaluations of base models or endpoints, which whoever has this one judged may have chosen among."""
    runs = seen(eval_run).filter(training_run=None)
    return int(runs.exclude(pk=eval_run.pk).filter(gate_reports=None).count())
