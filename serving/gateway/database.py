"""Queries of the gateway: in threads, on connections that are checked first, as a thread outlives a database."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, Error, OperationalError, connection

T = TypeVar("T")
#: seconds that a request waits for the database
QUERY_SECONDS = 5.0


async def in_database(work: Callable[[], T], *, seconds: float | None = QUERY_SECONDS) -> T:
    """The result of ``work``. Raises DatabaseError, also where the connection is broken or no answer comes in time."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.to_thread(_checked, work)
    except TimeoutError:
        raise OperationalError(f"no answer within {seconds:g} s") from None


def _checked(work: Callable[[], T]) -> T:
    if connection.connection is not None and not connection.is_usable():
        connection.close()  # the database was restarted since
    try:
        return work()
    except Error as error:
        connection.close()
        raise error if isinstance(error, DatabaseError) else DatabaseError(str(error)) from error
