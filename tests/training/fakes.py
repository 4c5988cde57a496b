"""Plans and results of the fake trainer."""

import json
from typing import Any

from slmstudio.storage.artifacts import local_path
from training.models import TrainingRun

WORKER = ("--worker-class", "tests.training.fake_worker.FakeTrainerWorker")


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
