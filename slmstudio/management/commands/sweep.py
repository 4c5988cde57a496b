"""``manage.py sweep``: runs the reaper. Once, for a timer, or with ``--every`` until stopped."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from slmstudio.database.retries import UNAVAILABLE
from slmstudio.runs.reaper import ReaperGuard, reap_lost_runs


class Command(BaseCommand):
    """Requeues lost runs, or marks them as failed with a reason."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=int, metavar="SECONDS", help="repeat at this interval until stopped")

    def handle(self, *args: Any, **options: Any) -> None:
        if not options["every"]:
            if not self._sweep():
                self.stdout.write("no run is lost")
            return
        guard = ReaperGuard(options["every"])
        while True:
            try:
                self._sweep(check_heartbeats=guard.may_check())
            except UNAVAILABLE as error:
                guard.database_unavailable()
                self.stderr.write(f"The database does not respond: {error}".strip())
                close_old_connections()
            time.sleep(max(1, options["every"]))

    def _sweep(self, *, check_heartbeats: bool = True) -> int:
        ended = reap_lost_runs(check_heartbeats=check_heartbeats)
        for run in ended:
            self.stdout.write(
                f"{run._meta.verbose_name} {run.pk} {run.get_status_display().lower()}: its worker is gone"
            )
        return len(ended)
