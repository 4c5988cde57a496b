"""Searches on real workers: with the real trainer on the tiny model, and with a killed worker."""

from collections.abc import Callable
from typing import Any

import pytest

from labeling.models import Study
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.stack import processes
from tests.forked_children import WORKER as FORKING
from tests.training.fake_trainer import objective
from tests.training.fakes import WORKER
from training.models import ModelVersion, TrainingRun
from training.search.study import trials_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Start = Callable[..., Study]


@pytest.fixture
def ended(wait_for: Callable[..., None], idle_workers: Any) -> Callable[[Study], list[str]]:
    """Waits until a search has ended; the states of its trials."""

    def wait(search: Study) -> list[str]:
        def is_over() -> bool:
            reap_lost_runs()
            search.refresh_from_db()
            return not search.is_live

        wait_for(is_over, seconds=240, message=lambda: f"{search.status} {search.stage}\n{idle_workers.text()}")
        return [trial["state"] for trial in search.trials]

    return wait


def test_two_trials_of_the_tiny_model(start_search: Start, idle_workers: Any, ended: Any) -> None:
    search = start_search(trials=2, epochs_high=1, lora_r=(4,), batch=(4,))
    idle_workers.start("gpu", options=FORKING)
    states = ended(search)
    assert search.status == Status.DONE
    assert len(states) == 2
    assert states[0] == "complete"
    assert set(states) <= {"complete", "pruned"}
    first = trials_of(search)[0][0]
    assert len(first.values) == 4
    assert first.value == first.values[-1]
    assert ModelVersion.objects.count() == states.count("complete")


def test_killed_worker_is_one_trial_resumed(
    start_search: Start, idle_workers: Any, ended: Any, wait_for: Callable[..., None], settings: Any
) -> None:
    settings.RUN_LOST_AFTER_SECONDS = 4
    search = start_search(trials=3)
    idle_workers.start("gpu", options=WORKER)
    wait_for(lambda: TrainingRun.objects.filter(number=2, checkpoint_step__gt=0).exists(), message=idle_workers.text)
    for process in processes.descendants(idle_workers.processes["gpu"].pid):
        process.kill()
    idle_workers.kill("gpu")
    idle_workers.start("gpu", options=WORKER)
    states = ended(search)
    assert search.status == Status.DONE
    assert len(states) == 3
    trials = trials_of(search)[0]
    for trial in trials:
        assert trial.state != "complete" or trial.value == objective(trial.parameters["learning_rate"])
    best = max(trials, key=lambda trial: objective(trial.parameters["learning_rate"]))
    assert best.state == "complete"
