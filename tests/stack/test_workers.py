"""``manage.py rqworker`` runs queued jobs in a child process."""

import os
from collections.abc import Callable

import django_rq
import pytest
from django.db import connection

from slmstudio.stack import processes
from tests.conftest import Workers

WORKER = ("--worker-class", "tests.stack.jobs.JobsWorker")


@pytest.mark.slow
def test_a_queued_job_runs_on_the_test_database(idle_workers: Workers, wait_for: Callable[..., None]) -> None:
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


@pytest.mark.slow
def test_a_stopped_worker_leaves_no_children(idle_workers: Workers, wait_for: Callable[..., None]) -> None:
    idle_workers.start("gpu", options=WORKER)
    django_rq.get_queue("gpu").enqueue("tests.stack.jobs.supervise", 60)
    gpu = idle_workers.processes["gpu"].pid
    wait_for(lambda: len(processes.descendants(gpu)) >= 2, seconds=20, message=idle_workers.text)
    family = processes.descendants(gpu)
    idle_workers.stop()
    wait_for(lambda: all(processes.ended(process, 0) for process in family), seconds=5)
