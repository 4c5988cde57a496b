"""A run that died, was cancelled or lost its worker resumes from its checkpoint, with every point once."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import django_rq
import psutil
import pytest
from django.db import connection

from slmstudio.errors import Refused
from slmstudio.runs import supervisor
from slmstudio.runs.controls import cancel
from slmstudio.runs.models import Status
from slmstudio.runs.reaper import requeue_interrupted
from slmstudio.storage.artifacts import local_path
from tests.training.fake_trainer import loss
from tests.training.fakes import attempts, curve, plan
from training.models import ModelVersion, TrainingRun
from training.runs import jobs as run_jobs
from training.runs.services import resume

pytestmark = pytest.mark.django_db(transaction=True)
WHOLE = [(step, loss(step)) for step in range(1, 21)]


@pytest.fixture
def run(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """Its trainer is the fake."""
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    return run


@pytest.fixture
def once_at_step(run: TrainingRun) -> Any:
    """``once_at_step(7, act)`` calls ``act`` beside the test when the run has a point of that step."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def watch(step: int, act: Callable[[], object]) -> None:
        def work() -> None:
            while not over.is_set() and not run.events.filter(kind="metrics", step__gte=step).exists():
                time.sleep(0.02)
            try:
                act()
            finally:
                connection.close()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield watch
    over.set()
    for thread in threads:
        thread.join()


def work(run: TrainingRun) -> TrainingRun:
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    return run


def waiting() -> list[str]:
    return list(django_rq.get_queue("gpu").job_ids)


def test_killed_child_resumes_from_its_checkpoint(run: TrainingRun) -> None:
    plan(run, die_at=13, pace=0.03)
    django_rq.get_queue("gpu").empty()
    work(run)
    assert (run.status, run.checkpoint_step, run.attempts) == (Status.QUEUED, 10, 1)
    assert waiting() == [str(run.job_id)]
    assert "step 10" in run.stage
    kept = json.loads(local_path(f"{run.folder_key}/state.json").read_text())
    run.claim()  # by a worker that starts again
    requeue_interrupted()
    run.refresh_from_db()
    assert (run.status, run.checkpoint_step, run.progress_done) == (Status.QUEUED, 10, 13)
    assert len(curve(run)) == 13
    work(run)
    assert (run.facts["tokens"], run.facts["resumed_from"]) == (2000, 10)
    assert run.facts["seconds"] >= kept["seconds"] + 10 * 0.03
    cost = run.facts["supervision"]
    assert cost["events"] >= 20
    assert 0 < cost["cpu_seconds"] < cost["seconds"]
    assert (run.status, run.error, run.progress_done) == (Status.DONE, "", 20)
    assert [attempt["from"] for attempt in attempts(run)] == [0, 10]
    assert curve(run) == WHOLE
    assert ModelVersion.objects.filter(training_run=run).count() == 1


def test_child_without_progress_is_not_restarted(run: TrainingRun) -> None:
    plan(run, die_always=13)
    work(run)
    assert run.status == Status.QUEUED
    work(run)
    assert (run.status, run.attempts) == (Status.FAILED, 2)
    assert "was killed" in run.error
    assert "checkpoint at step 10 is kept" in run.error
    assert not ModelVersion.objects.exists()


def test_child_killed_before_its_first_checkpoint_fails(run: TrainingRun) -> None:
    plan(run, die_at=3)
    work(run)
    assert (run.status, run.checkpoint_step) == (Status.FAILED, 0)
    assert "batch size" in run.error


def test_error_event_waits_for_a_manual_resume(run: TrainingRun, people: dict[str, Any]) -> None:
    plan(run, error_at=7)
    work(run)
    assert run.status == Status.FAILED
    assert run.error.startswith("The disk is full. Free some space.")
    assert "checkpoint at step 5" in run.error
    django_rq.get_queue("gpu").empty()
    resume(run=run, user=people["owner"])
    assert (run.status, run.error, run.attempts_since_restart) == (Status.QUEUED, "", 0)
    assert run.facts["resumed_by"][0]["who"] == "owner"
    assert run.created_by == people["engineer"]
    assert waiting() == [str(run.job_id)]
    work(run)
    assert run.status == Status.DONE
    assert curve(run) == WHOLE
    assert [attempt["from"] for attempt in attempts(run)] == [0, 5]


@pytest.mark.slow
def test_cancelled_run_keeps_its_work_and_can_be_resumed(
    run: TrainingRun, people: dict[str, Any], once_at_step: Any, settings: Any
) -> None:
    settings.RUN_HEARTBEAT_SECONDS = 0.1
    plan(run, steps=400, slow_save=0.5, save_every=1000)
    stages: set[str] = set()
    once_at_step(7, lambda: cancel(run=TrainingRun.objects.get(pk=run.pk), user=run.created_by))

    def check() -> None:
        while not (stage := TrainingRun.objects.get(pk=run.pk)).finished_at:
            stages.add(stage.stage)
            time.sleep(0.02)

    once_at_step(8, check)
    work(run)
    assert (run.status, run.error) == (Status.CANCELLED, "")
    assert "saving a checkpoint" in stages
    assert run.checkpoint_step == len(curve(run)) >= 7
    stopped_at = run.checkpoint_step
    plan(run, steps=stopped_at + 5)
    resume(run=run, user=people["engineer"])
    work(run)
    assert run.status == Status.DONE
    assert attempts(run)[-1]["from"] == stopped_at
    assert curve(run) == [(step, loss(step)) for step in range(1, stopped_at + 6)]


def test_stopped_worker_requeues_the_run_with_its_work(run: TrainingRun, once_at_step: Any) -> None:
    plan(run, steps=400, save_every=1000)
    django_rq.get_queue("gpu").empty()
    once_at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        work(run)
    finally:
        supervisor._stop_requested.clear()
    assert (run.status, run.attempts_since_restart, run.attempts) == (Status.QUEUED, 0, 1)
    assert run.checkpoint_step == len(curve(run)) >= 6
    assert waiting() == [str(run.job_id)]
    assert not psutil.pid_exists(attempts(run)[0]["pid"])


def test_child_that_received_a_signal_is_cancelled(run: TrainingRun, once_at_step: Any) -> None:
    plan(run, steps=400, save_every=1000)
    once_at_step(6, lambda: os.kill(attempts(run)[0]["pid"], signal.SIGTERM))
    work(run)
    assert (run.status, run.error) == (Status.CANCELLED, "")
    assert 6 <= run.checkpoint_step == run.progress_done < run.progress_total
    assert run.facts["stopped"] is True
    assert not ModelVersion.objects.exists()
    assert not psutil.pid_exists(attempts(run)[0]["pid"])


def test_damaged_checkpoint_resumes_from_an_older_one(run: TrainingRun) -> None:
    plan(run, die_at=13)
    work(run)
    local_path(f"{run.folder_key}/state.json").write_text('{"step": 5}')
    work(run)
    assert run.status == Status.DONE
    assert attempts(run)[-1]["from"] == 5
    assert curve(run) == WHOLE
    assert list(run.events.filter(kind="checkpoint").order_by("step").values_list("step", flat=True)) == [5, 10, 15, 20]


def test_unresumable_run_is_rejected(run: TrainingRun, people: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        resume(run=run, user=people["engineer"])
    assert caught.value.code == "not_ended"
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.FAILED)
    with pytest.raises(Refused) as caught:
        resume(run=run, user=people["engineer"])
    assert caught.value.code == "no_checkpoint"
    run.checkpoint_step = 5
    run.save(update_fields=["checkpoint_step"])
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.DONE)
    with pytest.raises(Refused) as caught:
        resume(run=run, user=people["engineer"])
    assert caught.value.code == "not_ended"


def test_revived_worker_leaves_the_run_to_its_new_worker(run: TrainingRun) -> None:
    old = TrainingRun.objects.get(pk=run.pk)
    assert old.claim(attempts=1)
    requeue_interrupted()
    run.refresh_from_db()
    assert run.claim(attempts=2)
    assert not old.send_heartbeat(stage="training")
    assert not old.finish()
    assert not old.fail("lost")
    run.refresh_from_db()
    assert (run.status, run.stage) == (Status.RUNNING, "starting")
