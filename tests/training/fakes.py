"""Plans and results of the fake trainer."""

import json
from collections.abc import Callable
from typing import Any

from slmstudio.runs.models import BackgroundRun
from slmstudio.storage.artifacts import local_path
from training.models import TrainingRun

WaitFor = Callable[..., None]
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


def wait_for_heartbeats(run: BackgroundRun, wait_for: WaitFor) -> None:
    """Waits until the run has sent some heartbeats from here on, however busy the machine is."""
    kind: Any = type(run)
    seen = set()

    def has_sent() -> bool:
        seen.add(kind.objects.values_list("heartbeat_at", flat=True).get(pk=run.pk))
        return len(seen) > 3

    wait_for(has_sent)
