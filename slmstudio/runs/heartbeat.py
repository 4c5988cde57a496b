"""Heartbeats of a run: a timestamp in its row, and a key in the job queue's server while the database is unavailable.

Without the key the reaper would take a healthy run for lost when the database is back, before its supervisor has
reconnected.
"""

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import django_rq
import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from slmstudio.database.transactions import UNAVAILABLE, with_retries
from slmstudio.runs.models import BackgroundRun

logger = logging.getLogger(__name__)

#: by the id of the run's job, so that it belongs to one attempt
KEY = "slmstudio:alive:{}"
#: seconds for the whole exchange: the supervisor has a child to monitor
_SECONDS = 1.0
#: lifetime of the key, in multiples of the heartbeat limit: connecting to the database may take longer than one
_LIMITS = 2


class Heartbeat:
    """Sends a run's heartbeat when it is due. Called between pieces of work; False: stop."""

    def __init__(self, run: BackgroundRun) -> None:
        self._run = run
        self._due = 0.0

    def __call__(self) -> bool:
        if time.monotonic() < self._due:
            return True
        self._due = time.monotonic() + min(2.0, settings.RUN_HEARTBEAT_SECONDS)
        return with_retries(self._run.send_heartbeat)


@contextmanager
def keep_alive(run: BackgroundRun) -> Iterator[None]:
    """Sends heartbeats during the block every ``RUN_HEARTBEAT_SECONDS``, from a thread with its own connection.

    For long work of the worker itself, such as hashing the files of a model. The end of the block checks whether the
    run was cancelled or passed to another worker.
    """
    # The run belongs to the block; a heartbeat only needs a row with its key and job.
    kind: Any = type(run)
    row = kind(pk=run.pk, job_id=run.job_id)
    over = threading.Event()

    def send() -> None:
        try:
            while not over.wait(settings.RUN_HEARTBEAT_SECONDS):
                try:
                    row.send_heartbeat()
                except UNAVAILABLE:
                    connection.close()
                    report_alive(row.job_id)
        finally:
            connection.close()

    thread = threading.Thread(target=send, name=f"heartbeat of {run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def report_alive(job_id: uuid.UUID) -> None:
    """Sets the key of the run of this job. If the queue's server does not answer either, logs a warning."""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.set(KEY.format(job_id), 1, px=int(_LIMITS * 1000 * settings.RUN_LOST_AFTER_SECONDS))
    except (RedisError, OSError) as error:
        logger.warning("the queue does not respond either (%s), so the run cannot show that it is alive", error)


def reported_alive(job_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """The jobs whose key is set.

    Raises:
        RedisError: the queue does not answer.
    """
    asked = list(job_ids)
    if not asked:
        return set()
    connection: Any = django_rq.get_connection("default")  # its stubs do not know that mget returns a list
    values = connection.mget([KEY.format(job_id) for job_id in asked])
    return {job_id for job_id, value in zip(asked, values, strict=True) if value is not None}
