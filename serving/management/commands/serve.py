"""``manage.py serve``: keeps this host's replicas running, and samples what they use, until stopped."""

import logging
import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection
from django.utils import timezone

from serving.monitoring import hosts
from serving.replicas.supervisor import HostSupervisor
from slmstudio.database.migrated import require_migrated
from slmstudio.database.transactions import first_line

logger = logging.getLogger(__name__)
STEP_SECONDS = 1.0
SAMPLE_SECONDS = 60.0


class Command(BaseCommand):
    """Keeps replicas running. Any number of hosts can run it; each has its own replicas of every release."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        supervisor = HostSupervisor()
        sample_at = 0.0
        self.stdout.write(f"serving on {supervisor.host}")
        while not stopped.wait(STEP_SECONDS):
            try:
                supervisor.step()
                if time.monotonic() >= sample_at:
                    sample_at = time.monotonic() + SAMPLE_SECONDS
                    hosts.sample(timezone.now())
            except DatabaseError as error:  # replicas keep answering
                logger.warning("the database does not respond: %s", first_line(error))
                connection.close()
        supervisor.stop()
