"""Looks at a hold-out: every one has a number, and the number has an error level of its own.

A look is a candidate whose answers to the hold-out somebody could see: a finished evaluation of a trained model, judged
or not, because whoever sees ten and has the best one judged has looked ten times. Its place among them is fixed when it
ends, so that choosing among them afterwards gains nothing. Base models and endpoints are what candidates are held
against; one of them is a look from the moment it is judged itself, and so is judging an evaluation once more, under
another policy or against another baseline.

Look k runs at the level alpha / 2^k (``stats.look_level``), so that all looks together stay below alpha.
"""

from datetime import datetime
from typing import Any

from evaluation.models import EvalRun, GateReport
from labeling.models import DatasetItem, Split


def _datasets(eval_run: EvalRun) -> Any:
    """Dataset versions that hold out any document of this run's hold-out: one that grew is still the same one."""
    documents = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    return DatasetItem.objects.filter(split=Split.HOLDOUT, document__in=documents).values("dataset")


def looks(eval_run: EvalRun) -> list[GateReport]:
    """Reports so far that looked at any of this run's hold-out documents, oldest first."""
    reports = GateReport.objects.filter(project_id=eval_run.project_id, eval_run__dataset__in=_datasets(eval_run))
    return list(reports.select_related("eval_run", "policy").order_by("number"))


def candidates(eval_run: EvalRun) -> list[EvalRun]:
    """Finished evaluations of trained models on any of this run's hold-out documents, in the order they ended."""
    runs = EvalRun.objects.filter(project_id=eval_run.project_id, dataset__in=_datasets(eval_run), benchmark=None)
    found = runs.on_holdout().done().filter(training_run__isnull=False).order_by("finished_at", "pk")
    return list(found.only("pk", "number", "finished_at", "training_run_id", "project_id"))


def next_look(eval_run: EvalRun) -> int:
    """The number of the look that judging this evaluation now is, counted from 1."""
    trained = {run.pk: run for run in candidates(eval_run)}
    events: list[tuple[datetime, int]] = [(run.finished_at or run.created_at, run.pk) for run in trained.values()]
    judged: set[int] = set()
    for report in looks(eval_run):
        if report.eval_run_id in trained and report.eval_run_id not in judged:
            judged.add(report.eval_run_id)  # its evaluation is the look
        else:
            events.append((report.created_at, 0))
    if eval_run.pk not in trained:
        return len(events) + 1 + _unjudged_like(eval_run)
    if eval_run.pk in judged:
        return len(events) + 1
    return [pk for _, pk in sorted(events)].index(eval_run.pk) + 1


def _unjudged_like(eval_run: EvalRun) -> int:
    """Other evaluations of base models or endpoints, which whoever has this one judged may have chosen among."""
    runs = EvalRun.objects.filter(
        project_id=eval_run.project_id, dataset__in=_datasets(eval_run), benchmark=None, training_run=None
    )
    return int(runs.on_holdout().done().exclude(pk=eval_run.pk).filter(gate_reports=None).count())
