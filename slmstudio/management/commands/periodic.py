"""``manage.py periodic``: runs the periodic tasks of all apps until stopped."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from slmstudio.database.migrated import require_migrated
from slmstudio.periodic import PeriodicTasks, all_tasks


class Command(BaseCommand):
    """Runs what is due: lost runs, retries of webhooks, rollouts, figures, alerts, retention."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        PeriodicTasks(all_tasks()).run_until(stopped)
