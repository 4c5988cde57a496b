"""What the runs of trials report, without any worker."""

from typing import Any

from slmstudio.runs.models import Status
from training.models import TrainingEvent, TrainingRun


def evaluate(run: TrainingRun, *values: float, total: int = 100) -> None:
    """A running run with these evaluations so far."""
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.RUNNING, progress_done=50, progress_total=total)
    first = run.events.filter(kind="samples").count()
    for index, value in enumerate(values, start=first + 1):
        TrainingEvent.objects.create(run=run, kind="samples", step=index, data={"field_exact": value, "rows": []})


def end(run: TrainingRun, status: Status = Status.DONE, **changes: Any) -> None:
    """A run that has ended."""
    TrainingRun.objects.filter(pk=run.pk).update(status=status, **changes)
