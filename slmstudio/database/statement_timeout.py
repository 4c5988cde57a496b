"""Statements with a time limit."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.errors import QueryCanceled


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
