"""Transactions and statements: retried where the database is unavailable, cancelled at a time limit, waited for."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import QueryCanceled

#: seconds that a save may take; what takes longer is no save
MAX_SAVE_SECONDS = 10.0


def running() -> set[tuple[int, str]]:
    """The writing transactions of now, each with its process. Asked right after a commit, those of them that began
    before may have read what was there before.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, backend_xid::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return set(cursor.fetchall())


def wait_for(transactions: set[tuple[int, str]]) -> None:
    """Waits until these have ended, at most ``MAX_SAVE_SECONDS``; saves take milliseconds."""
    end = time.monotonic() + MAX_SAVE_SECONDS
    while transactions & running() and time.monotonic() < end:
        time.sleep(0.05)


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


class StatementTimeout(Exception):
    """A statement was cancelled at its time limit."""


@contextmanager
def statement_timeout(milliseconds: float, *, by_index: bool = False) -> Iterator[CursorWrapper]:
    """A cursor whose statements are cancelled after this time each.

    ``by_index`` disables sequential scans where an index can be used: the planner rates a comparison of long texts as
    cheap as one of numbers.

    Raises:
        StatementTimeout: a statement was cancelled.
    """
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            # Starting parallel workers takes longer than these statements.
            cursor.execute(
                f"SET LOCAL statement_timeout TO {max(1, round(milliseconds))}; "
                "SET LOCAL max_parallel_workers_per_gather TO 0"
                + ("; SET LOCAL enable_seqscan TO off" if by_index else "")
            )
            yield cursor
            # In a transaction of the caller the settings would outlive this block.
            cursor.execute(
                "SET LOCAL statement_timeout TO DEFAULT; SET LOCAL max_parallel_workers_per_gather TO DEFAULT"
                + ("; SET LOCAL enable_seqscan TO DEFAULT" if by_index else "")
            )
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise StatementTimeout from error
        raise
