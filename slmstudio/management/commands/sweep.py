"""``manage.py sweep``: ends runs whose worker has gone. Meant to be called every minute."""

from typing import Any

from django.core.management.base import BaseCommand

from slmstudio.sweep import sweep_lost


class Command(BaseCommand):
    """Fails lost runs with the reason on their page."""

    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        ended = sweep_lost()
        for run in ended:
            self.stdout.write(f"{run._meta.verbose_name} {run.pk} {run.get_status_display()}: its worker has gone")
        if not ended:
            self.stdout.write("no run is lost")
