"""``manage.py rqworker`` runs queued jobs in a child process; commands that wait for a run reap lost ones."""

import os
import subprocess
import sys
import time
from collections.abc import Callable

import django_rq
import pytest
from django.db import connection

from slmstudio.stack import processes
from slmstudio.workers import live_workers
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone
from tests.conftest import Workers

WORKER = ("--worker-class", "tests.stack.jobs.JobsWorker")


@pytest.mark.slow
def test_queued_jobs_run_on_the_test_database_and_end_with_their_worker(
    idle_workers: Workers, wait_for: Callable[..., None]
) -> None:
    workers, names = idle_workers, ("default", "imports", "gpu")
    workers.start(*names, options=WORKER)
    jobs = {name: django_rq.get_queue(name).enqueue("tests.stack.jobs.where", 1) for name in names}
    over = ("finished", "failed")
    wait_for(lambda: all(job.get_status(refresh=True) in over for job in jobs.values()), message=workers.text)
    for name, job in jobs.items():
        assert job.get_status() == "finished", workers.text()
        pid, database = job.return_value() or [0, ""]
        assert database == connection.settings_dict["NAME"]
        assert pid not in (os.getpid(), workers.processes[name].pid)
    # A stopped worker leaves no children.
    django_rq.get_queue("gpu").enqueue("tests.stack.jobs.supervise", 60)
    gpu = idle_workers.processes["gpu"].pid
    wait_for(lambda: len(processes.descendants(gpu)) >= 2, seconds=20, message=idle_workers.text)
    family = processes.descendants(gpu)
    idle_workers.stop()
    wait_for(lambda: all(processes.ended(process, 0) for process in family), seconds=5)


def test_waiting_commands_reap_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[float] = []
    clock = [100.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live_workers, "reap_lost_runs", lambda: passes.append(clock[0]))
    workers = StartedWorkers()
    for _ in range(25):
        workers.wait()
    assert passes == [101, 111, 121]


def test_a_worker_that_ended_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_workers, "POLL_SECONDS", 0)
    monkeypatch.setattr(live_workers, "reap_lost_runs", list)
    workers = StartedWorkers()
    workers.processes["gpu"] = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    workers.processes["gpu"].wait()
    with pytest.raises(WorkerGone, match="gpu ended with code 3"):
        workers.wait()
