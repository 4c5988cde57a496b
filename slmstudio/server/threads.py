"""The application threads."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

logger = logging.getLogger(__name__)


class Task(Protocol):
    """A unit of work that waitress passes to a thread."""

    def service(self) -> None: ...


class Threads:
    """Replaces waitress's dispatcher, which starts all threads immediately and uses them in turn.

    Here a thread is started only if all others are busy: each has its own database connection with its prepared
    statements, so a quiet server is faster with few.
    """

    def __init__(self, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="web")

    def add_task(self, task: Task) -> None:
        """Runs a task as soon as a thread is free."""
        self._pool.submit(_do, task)

    def shutdown(self) -> None:
        """Starts no more tasks. Running ones continue."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _do(task: Task) -> None:
    try:
        task.service()
    except BaseException:
        logger.exception("a request broke its connection")
