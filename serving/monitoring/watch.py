"""Keeps the figures of the monitoring page: counts the log, samples this host, checks alerts and drift.

Runs in a thread of ``manage.py serve``, so that a long count delays no heartbeat of a replica. Any number of hosts may
run it: the log is counted by one of them at a time, each samples itself.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, connection
from django.utils import timezone

from serving.alerts import mail
from serving.alerts.checks import CHECK_SECONDS, check_all
from serving.drift.checks import check_due
from serving.traffic import hosts
from serving.traffic.counting import MAX_MINUTES, count_marked, delete_old
from slmstudio.database.retries import first_line

logger = logging.getLogger(__name__)
COUNT_SECONDS = 5.0


@dataclass
class Task:
    """Something that is done every ``seconds``; ``run`` returns whether there is more to do at once."""

    seconds: float
    run: Callable[[datetime], bool]
    due: float = 0.0


def tasks() -> list[Task]:
    """What the loop does."""
    return [
        Task(COUNT_SECONDS, lambda now: count_marked(now) >= MAX_MINUTES),
        Task(CHECK_SECONDS, _done(check_all)),
        Task(10.0, _done(mail.send_waiting)),
        Task(60.0, _done(hosts.sample)),
        Task(600.0, _done(check_due)),
        Task(3_600.0, _done(delete_old)),
    ]


def _done(work: Callable[[datetime], object]) -> Callable[[datetime], bool]:
    def run(now: datetime) -> bool:
        work(now)
        return False

    return run


@dataclass
class MonitoringLoop:
    """The loop of one process."""

    stopped: threading.Event
    tasks: list[Task] = field(default_factory=tasks)

    def start(self) -> threading.Thread:
        """Runs it in a thread until ``stopped``."""
        thread = threading.Thread(target=self._run, name="monitoring", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while not self.stopped.wait(1.0):
            self.step()
        connection.close()

    def step(self) -> None:
        """Does what is due; an error of one task does not keep others from their work."""
        for task in self.tasks:
            if time.monotonic() < task.due or self.stopped.is_set():
                continue
            task.due = time.monotonic() + task.seconds
            try:
                if task.run(timezone.now()):
                    task.due = 0.0
            except DatabaseError as error:
                logger.warning("monitoring: the database does not respond: %s", first_line(error))
                connection.close()
            except Exception:
                logger.exception("monitoring")
