"""Keeps a run's heart beating while its worker does something long of its own, such as hashing the files of a model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import connection

from slmstudio.runs.liveness import tell_alive
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import AWAY


@contextmanager
def beating(run: BackgroundRun) -> Iterator[None]:
    """Beats beside the block, every ``RUN_HEARTBEAT_SECONDS``, on a connection of its own.

    It only beats: a run that was cancelled, or is no longer this worker's, is for the block's end to find out. A
    database that is away is asked again at the next beat.
    """
    # The run itself is the block's; a row that only knows which run and job it is has all that a beat needs.
    kind: Any = type(run)
    heart = kind(pk=run.pk, job_id=run.job_id)
    over = threading.Event()

    def beat() -> None:
        try:
            while not over.wait(settings.RUN_HEARTBEAT_SECONDS):
                try:
                    heart.beat()
                except AWAY:
                    connection.close()
                    tell_alive(heart.job_id)
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name=f"heart of {run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
