"""``manage.py serve``: keeps this host's replicas running, watches rollouts, budgets and figures, until stopped."""

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from serving.comparisons.split import SplitWatch
from serving.monitoring.loop import MonitoringLoop
from serving.policies.watch import BudgetWatch
from serving.replicas.supervisor import HostSupervisor
from serving.rollouts.watch import RolloutWatch

logger = logging.getLogger(__name__)
STEP_SECONDS = 1.0


class Command(BaseCommand):
    """Keeps replicas running. Any number of hosts can run it; each has its own replicas of every release."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        supervisor, watch = HostSupervisor(), RolloutWatch()
        splits, budgets = SplitWatch(), BudgetWatch()
        monitoring = MonitoringLoop(stopped).start()
        self.stdout.write(f"serving on {supervisor.host}")
        while not stopped.wait(STEP_SECONDS):
            try:
                supervisor.step()
                watch.step()
                splits.step()
                budgets.step()
            except DatabaseError as error:  # replicas keep answering
                logger.warning("the database does not respond: %s", str(error).splitlines()[0] if str(error) else error)
                connection.close()
        supervisor.stop()
        monitoring.join(settings.SERVE_STOP_SECONDS)
