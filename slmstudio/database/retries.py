"""Retries for an unavailable database: restarted, failed over, not reachable."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: the errors of an unavailable database
UNAVAILABLE = (OperationalError, InterfaceError)
#: seconds without a database after which a run is abandoned; its checkpoint is kept, and the reaper requeues it
RETRY_SECONDS = 1800.0


def with_retries(do: Callable[[], T], seconds: float = RETRY_SECONDS) -> T:
    """The result of ``do``, which is called again while the database is unavailable and must be idempotent.

    Raises:
        OperationalError, InterfaceError: the database was unavailable for longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    wait = 0.2
    while True:
        try:
            return do()
        except UNAVAILABLE as error:
            if connection.in_atomic_block or time.monotonic() > deadline:
                raise
            logger.warning("the database does not respond (%s); trying again in %.1f s", first_line(error), wait)
            connection.close()  # the next query opens a new one
            time.sleep(wait)
            wait = min(wait * 2, 5.0)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
