"""``manage.py rqworker`` as anyone would start it runs what was queued, in a process of its own."""

import os
from collections.abc import Callable

import django_rq
import pytest
from django.db import connection

from slmstudio.stack import processes
from tests.conftest import Workers


@pytest.mark.parametrize("queue", ["default", "imports", "gpu"])
def test_a_queued_job_runs_on_the_test_database(workers: Workers, wait_for: Callable[..., None], queue: str) -> None:
    job = django_rq.get_queue(queue).enqueue("tests.stack.jobs.where")
    wait_for(lambda: job.get_status(refresh=True) in ("finished", "failed"), seconds=30, message=workers.text)
    assert job.get_status() == "finished", workers.text()
    pid, database = job.return_value() or [0, ""]
    assert database == connection.settings_dict["NAME"]
    assert pid not in (os.getpid(), workers.processes[queue].pid)


def test_stopped_workers_leave_no_children(workers: Workers, wait_for: Callable[..., None]) -> None:
    django_rq.get_queue("gpu").enqueue("tests.stack.jobs.supervise", 60)
    gpu = workers.processes["gpu"].pid
    wait_for(lambda: len(processes.descendants(gpu)) >= 2, seconds=20, message=workers.text)
    family = processes.descendants(gpu)
    workers.stop()
    wait_for(lambda: all(processes.ended(process, 0) for process in family), seconds=5)
