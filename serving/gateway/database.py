"""Queries of the gateway: in threads, on connections that are checked first, as a thread outlives a database."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, Error, OperationalError, connection

T = TypeVar("T")
#: seconds that a request waits for the database
QUERY_SECONDS = 5.0
_threads = ThreadPoolExecutor(8, thread_name_prefix="database")


async def in_database(work: Callable[[], T], *, seconds: float | None = QUERY_SECONDS) -> T:
    """The result of ``work``. Raises DatabaseError, also where the connection is broken or no answer comes in time."""
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().run_in_executor(_threads, _checked, work)
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
