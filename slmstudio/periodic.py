"""Periodic tasks: one table, which ``manage.py periodic`` runs.

Each app lists its tasks as ``TASKS`` in its module ``periodic``; those of the project package are below. One process is
enough. What a host does for itself is no periodic task: the timers of a gateway are about its own memory and files, and
``manage.py serve`` starts and samples the replicas of its host.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TypeVar

from django.apps import apps
from django.db import DatabaseError, connection
from django.utils.module_loading import module_has_submodule

from slmstudio.accounts.oidc.accounts import check_accounts
from slmstudio.accounts.sessions import delete_expired
from slmstudio.database.transactions import UNAVAILABLE, first_line
from slmstudio.runs.reaper import PeriodicReaper

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
#: tasks that run at the same time: a long count must not delay the check of a rollout
THREADS = 4
#: seconds between two checks of what is due
STEP_SECONDS = 0.5
REAPER_SECONDS = 30.0


@dataclass(frozen=True)
class PeriodicTask:
    """``function`` is called every ``seconds``, and again at once if it returns True: more work waits.

    ``lock``: the name of a lock that one process holds during the call; "" if the function locks the rows it changes.
    """

    name: str
    seconds: float
    function: Callable[[], object]
    lock: str = ""


TASKS = [
    PeriodicTask("reaper", REAPER_SECONDS, PeriodicReaper(REAPER_SECONDS).run),
    PeriodicTask("ended sessions", 600, delete_expired),
    PeriodicTask("accounts of the provider", 5, check_accounts, lock="accounts of the provider"),
]


def for_each(what: str, items: Iterable[Item], work: Callable[[Item], int]) -> int:
    """The sum of what ``work`` returns. An item that fails is logged, and the others have their turn; where the
    database does not answer, no other has."""
    total = 0
    for item in items:
        try:
            total += work(item)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("%s: %s", what, item)
    return total


def all_tasks() -> list[PeriodicTask]:
    """The tasks of all installed apps."""
    tasks: list[PeriodicTask] = []
    for config in apps.get_app_configs():
        if config.module is not None and module_has_submodule(config.module, "periodic"):
            tasks += import_module(f"{config.name}.periodic").TASKS
    return tasks


def run_task(task: PeriodicTask) -> bool:
    """Runs a task now; returns whether more work waits. An error is logged."""
    try:
        with _locked(task.lock) as is_free:
            return is_free and task.function() is True
    except UNAVAILABLE as error:
        logger.warning("%s: the database does not respond: %s", task.name, first_line(error))
        connection.close()  # the next query opens a new one
    except Exception:
        logger.exception("%s", task.name)
    return False


@contextmanager
def _locked(name: str) -> Iterator[bool]:
    """Whether this process has the lock of this name, until the end of the block; always with the name ""."""
    if not name:
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('slmstudio.periodic'), hashtext(%s))", [name])
        is_free = bool(cursor.fetchone()[0])
    try:
        yield is_free
    finally:
        if is_free:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtext('slmstudio.periodic'), hashtext(%s))", [name])


class PeriodicTasks:
    """Runs each task when it is due, in a few threads, and no task twice at the same time."""

    def __init__(self, tasks: Sequence[PeriodicTask], run: Callable[[PeriodicTask], bool] = run_task) -> None:
        self._run = run
        self._due = dict.fromkeys(tasks, 0.0)
        self._running: dict[PeriodicTask, Future[bool]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="periodic")

    def run_until(self, stopped: threading.Event) -> None:
        """Runs the tasks until ``stopped``; those that are running end first."""
        while not stopped.is_set():
            self.step(time.monotonic())
            stopped.wait(STEP_SECONDS)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def step(self, now: float) -> None:
        """Starts the tasks that are due."""
        for task, due in self._due.items():
            running = self._running.get(task)
            if running is not None and running.done():
                del self._running[task]
                if running.result():
                    due = 0.0
            if task not in self._running and now >= due:
                self._due[task] = now + task.seconds
                self._running[task] = self._threads.submit(self._run, task)
