"""The table of periodic tasks, and the process that runs it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.utils import timezone

from serving.models import AlertRule, Deployment, Traffic
from slmstudio.periodic import PeriodicTask, PeriodicTasks, all_tasks, run_task
from tests.conftest import ROOT, worker_environment
from tests.evaluation.factories import World
from tests.serving.monitoring.rows import logged


def test_every_task_runs(world: World, deployment: Deployment, queues: None, caplog: pytest.LogCaptureFixture) -> None:
    logged(world.project.pk, timezone.now(), 3, release=deployment.stable)
    tasks = all_tasks()
    assert len({task.name for task in tasks}) == len(tasks) > 15
    for task in tasks:
        run_task(task)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert Traffic.objects.filter(seconds=60).get().requests == 3
    assert AlertRule.objects.filter(project=world.project, checked_at__isnull=False).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("a mistake")])
def test_an_error_ends_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "close", lambda: None)

    def fails() -> None:
        raise error

    assert not run_task(PeriodicTask("fails", 60, fails, lock="fails"))
    assert run_task(PeriodicTask("more work waits", 60, lambda: True, lock="fails")), "the lock is free again"


@pytest.mark.django_db(transaction=True)
def test_another_process_that_has_the_lock_keeps_it() -> None:
    calls: list[int] = []
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(30)

    def other_process() -> None:
        run_task(PeriodicTask("slow", 60, hold, lock="x"))
        connection.close()

    thread = threading.Thread(target=other_process)
    thread.start()
    try:
        assert held.wait(30)
        run_task(PeriodicTask("same lock", 60, lambda: calls.append(1), lock="x"))
        run_task(PeriodicTask("another lock", 60, lambda: calls.append(2), lock="y"))
    finally:
        release.set()
        thread.join()
    assert calls == [2]


def test_tasks_run_when_they_are_due_and_not_twice_at_once() -> None:
    release = threading.Event()
    started: list[str] = []
    more = {"busy": 2}

    def run(task: PeriodicTask) -> bool:
        started.append(task.name)
        if task.name == "slow":
            release.wait(30)
        more[task.name] = more.get(task.name, 0) - 1
        return more[task.name] > 0

    names = ("slow", "busy", "quick")
    tasks = PeriodicTasks([PeriodicTask(name, 10, lambda: None) for name in names], run)

    def step(now: float) -> list[str]:
        started.clear()
        tasks.step(now)
        for task, future in tasks._running.items():
            if task.name != "slow" or release.is_set():
                future.result(30)
        return sorted(started)

    assert step(0) == ["busy", "quick", "slow"]
    assert step(1) == ["busy"], "more work waited"
    assert step(9) == []
    assert step(11) == ["busy", "quick"], "the slow one is still running"
    release.set()
    assert step(12) in (["slow"], [])
    assert step(30) == ["busy", "quick", "slow"]


@pytest.mark.slow
def test_the_command_runs_until_it_is_stopped(
    transactional_db: None, queues: None, wait_for: Callable[..., None]
) -> None:
    Session.objects.create(session_key="ended", expire_date=timezone.now())
    process = subprocess.Popen([sys.executable, "manage.py", "periodic"], cwd=ROOT, env=worker_environment())
    try:
        wait_for(lambda: not Session.objects.exists(), seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
