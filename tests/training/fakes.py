"""Queued runs, and plans and results of the fake trainer."""

import json
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model

from slmstudio.runs.models import BackgroundRun
from slmstudio.storage.artifacts import local_path
from slmstudio.workers.worker import StudioWorker
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, TrainingRun
from training.runs.services import start_training

WaitFor = Callable[..., None]
WORKER = ("--worker-class", "tests.training.fakes.FakeTrainerWorker")


class FakeTrainerWorker(StudioWorker):
    """A worker that runs the fake trainer, and is the real one in everything else."""

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """Only the job's own process knows the fake."""
        from training.runs import jobs as run_jobs

        run_jobs.TRAINER = "tests.training.fake_trainer"
        super().main_work_horse(job, queue)


def start_run(lengths: LengthReport, *, name: str = "", **hyperparameters: Any) -> TrainingRun:
    """Queues a run of the engineer on a measured dataset."""
    dataset = lengths.dataset
    return start_training(
        project=dataset.project,
        user=get_user_model().objects.get(username="engineer"),
        dataset=dataset,
        base_model=lengths.base_model,
        hyperparameters=Hyperparameters(**hyperparameters),
        name=name,
    )


def plan(run: TrainingRun, **values: Any) -> None:
    """What the fake trainer shall do for this run."""
    local_path(f"{run.folder_key}/fake.json").write_text(json.dumps(values))


def attempts(run: TrainingRun) -> list[dict[str, Any]]:
    """Each attempt of the fake trainer: ``from`` which step, ``pid``, the cards it saw."""
    path = local_path(f"{run.folder_key}/attempts.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def curve(run: TrainingRun) -> list[tuple[int, float]]:
    """Step and loss of every point."""
    return list(run.events.filter(kind="metrics").order_by("step", "pk").values_list("step", "data__loss"))


def wait_for_heartbeats(run: BackgroundRun, wait_for: WaitFor) -> None:
    """Waits until the run has sent some heartbeats from here on, however busy the machine is."""
    kind: Any = type(run)
    moments = set()

    def has_sent() -> bool:
        moments.add(kind.objects.values_list("heartbeat_at", flat=True).get(pk=run.pk))
        return len(moments) > 3

    wait_for(has_sent)
