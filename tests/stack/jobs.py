"""Jobs for the tests of the workers."""

import os
import subprocess
import sys
import time
from typing import Any

from django.db import connection

from slmstudio.workers import job_names
from slmstudio.workers.worker import StudioWorker


def where(_: int) -> list[object]:
    """The process that runs the job and the database it sees, asked of the server itself."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        row = cursor.fetchone()
    return [os.getpid(), row[0] if row else None]


def supervise(seconds: int) -> None:
    """As a training does: waits for a child in a session of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep({seconds})"], start_new_session=True, stdin=subprocess.DEVNULL
    )
    while child.poll() is None:
        time.sleep(0.05)


def never_called(*_: object) -> None:
    """A callback that a job in the queue may name."""
    raise SystemExit("never_called was called")


class JobsWorker(StudioWorker):
    """A worker that runs the jobs of this module as well: ``manage.py rqworker --worker-class <this>``."""

    def work(self, *args: Any, **options: Any) -> bool:
        job_names.register("tests.stack.jobs.where")
        job_names.register("tests.stack.jobs.supervise")
        return super().work(*args, **options)
