"""The threads that the application works in."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

logger = logging.getLogger(__name__)


class Task(Protocol):
    """What waitress hands to a thread."""

    def service(self) -> None: ...


class Threads:
    """In place of waitress's dispatcher, which starts all threads at once and takes them in turn.

    Here a thread is started where all others are at work: each has a connection to the database of its own, with the
    statements that were prepared there, so a quiet server does better with few.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="web")

    def add_task(self, task: Task) -> None:
        """Does it as soon as a thread is free."""
        self._pool.submit(_do, task)

    def shutdown(self) -> None:
        """Starts nothing any more. What is at work goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _do(task: Task) -> None:
    try:
        task.service()
    except BaseException:
        logger.exception("a request broke its connection")
