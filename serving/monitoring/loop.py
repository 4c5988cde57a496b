"""Keeps the figures: counts the log, samples this host, checks alerts and drift.

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

from serving.monitoring import alerts, drift, hosts
from serving.monitoring.figures import MAX_MINUTES, count_marked, delete_old
from slmstudio.database.retries import first_line

logger = logging.getLogger(__name__)
#: what is done, and every how many seconds
TASKS: tuple[tuple[Callable[[datetime], object], float], ...] = (
    (count_marked, 5.0),
    (alerts.check_all, alerts.CHECK_SECONDS),
    (alerts.send_waiting, 10.0),
    (hosts.sample, 60.0),
    (drift.check_due, 600.0),
    (delete_old, 3_600.0),
)


@dataclass
class MonitoringLoop:
    """The loop of one process."""

    stopped: threading.Event
    tasks: tuple[tuple[Callable[[datetime], object], float], ...] = TASKS
    _due: dict[Callable[[datetime], object], float] = field(default_factory=dict)

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
        for task, seconds in self.tasks:
            if time.monotonic() < self._due.get(task, 0.0) or self.stopped.is_set():
                continue
            self._due[task] = time.monotonic() + seconds
            try:
                done = task(timezone.now())
                if task is count_marked and isinstance(done, int) and done >= MAX_MINUTES:  # others wait
                    self._due[task] = 0.0
            except DatabaseError as error:
                logger.warning("monitoring: the database does not respond: %s", first_line(error))
                connection.close()
            except Exception:
                logger.exception("monitoring")
