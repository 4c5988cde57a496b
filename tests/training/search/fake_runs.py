"""What the runs of trials report, without any worker."""

from typing import Any

from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from training.models import ModelVersion, TrainingEvent, TrainingRun


def evaluate(run: TrainingRun, *values: float, total: int = 100) -> None:
    """A running run with these evaluations so far."""
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.RUNNING, progress_done=50, progress_total=total)
    first = run.events.filter(kind="samples").count()
    for index, value in enumerate(values, start=first + 1):
        TrainingEvent.objects.create(run=run, kind="samples", step=index, data={"field_exact": value, "rows": []})


def make_model(run: TrainingRun) -> ModelVersion:
    """The model version of a run, with a file."""
    number = ModelVersion.objects.count() + 1
    key = f"{run.folder_key}/merged"
    file = local_path(f"{key}/model.safetensors")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"weights")
    return ModelVersion.objects.create(
        project=run.project, number=number, training_run=run, folder_key=key, files=[{"path": file.name, "size": 7}]
    )


def end(run: TrainingRun, status: Status = Status.DONE, **changes: Any) -> None:
    """A run that has ended."""
    TrainingRun.objects.filter(pk=run.pk).update(status=status, **changes)
