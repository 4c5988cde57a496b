"""A healthy run is never reaped, and its result survives a database outage."""

import uuid
from pathlib import Path
from typing import Any

import django_rq
import pytest
from django.db import OperationalError

from slmstudio.runs.models import Status
from slmstudio.storage.hashing import folder_hash, folder_manifest
from tests.training.fakes import WaitFor, plan, wait_for_heartbeats
from training.child_processes import ChildFailed
from training.job_failures import FailureHandler
from training.models import ModelVersion, TrainingRun
from training.runs import event_recorder
from training.runs import jobs as run_jobs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """Its trainer is the fake."""
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    return run


def away_once(monkeypatch: pytest.MonkeyPatch, name: str, *, done: bool) -> list[int]:
    """The database goes away at the first call of a transition: before it, or once it is ``done`` and cannot say so."""
    tries = [0]
    real = getattr(TrainingRun, name)

    def flaky(self: Any, *args: Any, **changes: Any) -> Any:
        tries[0] += 1
        if tries[0] == 1:
            if done:
                TrainingRun.objects.get(pk=self.pk)._transition((Status.RUNNING,), **after(self, changes))
            raise OperationalError("the server closed the connection unexpectedly")
        return real(self, *args, **changes)

    def after(run: TrainingRun, changes: dict[str, Any]) -> dict[str, Any]:
        return {"status": Status.QUEUED, "job_id": uuid.uuid5(run.job_id, "put back"), "heartbeat_at": None}

    monkeypatch.setattr(TrainingRun, name, flaky)
    return tries


@pytest.mark.slow
def test_heartbeats_are_sent_while_hashing(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch, settings: Any, wait_for: WaitFor
) -> None:
    settings.RUN_HEARTBEAT_SECONDS = 0.05
    plan(run, steps=1, pace=0)
    slow: list[str] = []

    def slowly(real: Any, name: str) -> Any:
        def do(path: Path) -> Any:
            if not slow.count(name):  # a slow disk, once for each
                slow.append(name)
                wait_for_heartbeats(run, wait_for)
            return real(path)

        return do

    monkeypatch.setattr(run_jobs, "folder_hash", slowly(folder_hash, "before"))
    monkeypatch.setattr(event_recorder, "folder_manifest", slowly(folder_manifest, "after"))
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert slow == ["before", "after"]
    assert (run.status, run.attempts) == (Status.DONE, 1)
    assert ModelVersion.objects.filter(training_run=run).count() == 1


def test_failure_is_stored_after_a_database_outage(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.claim()
    tries = away_once(monkeypatch, "fail", done=False)
    with FailureHandler(run):
        raise ChildFailed("The loss is not a number.")
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.FAILED, "The loss is not a number.")
    assert tries == [2]


def test_requeued_run_is_queued_after_a_database_outage(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    django_rq.get_queue("gpu").empty()
    assert run.claim(attempts=1)
    tries = away_once(monkeypatch, "return_to_queue", done=True)
    run_jobs._release_run(run)
    run.refresh_from_db()
    assert (run.status, tries) == (Status.QUEUED, [2])
    assert django_rq.get_queue("gpu").job_ids == [str(run.job_id)]
    assert run.claim(attempts=2)


def test_run_page_does_not_name_the_database(run: TrainingRun) -> None:
    assert run.claim()
    text = 'connection to server at "10.1.2.3", port 5432 failed: password for user "slm"'
    with pytest.raises(ValueError, match="password"), FailureHandler(run):
        raise ValueError(text)
    run.refresh_from_db()
    assert run.error == "Internal error (ValueError). See the worker's log."
