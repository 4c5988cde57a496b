"""``manage.py build_package``: builds a package of an approved model again, with one or several engines."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.models import GateReport
from serving.management.users import member_who_deploys
from serving.models import Package
from serving.packages import services
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE

POLL_SECONDS = 1.0


class Command(BaseCommand):
    """Builds a package again on a GPU worker. Versions keep their package until they are deployed again."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--report", required=True, type=int, help="number of a gate report of the model")
        parser.add_argument(
            "--variants",
            nargs="+",
            required=True,
            help="engines, such as llama_cpp-q8_0 or vllm; the first is the default",
        )
        parser.add_argument("--user", help="user to act as (default: the first member who can deploy)")
        parser.add_argument("--no-wait", action="store_true", help="do not wait until it is built")

    def handle(self, *args: Any, **options: Any) -> None:
        report = GateReport.objects.filter(project__slug=options["project"], number=options["report"]).first()
        if report is None:
            raise CommandError(f"There is no gate report {options['report']} in {options['project']}.")
        user = member_who_deploys(report.project, options["user"])
        try:
            package = services.build_again(run=report.eval_run, user=user, variants=options["variants"])
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(f"{package} is queued")
        if not options["no_wait"]:
            self._wait(package)

    def _wait(self, package: Package) -> None:
        shown = ""
        while package.status in ACTIVE:
            if package.stage != shown:
                shown = package.stage
                self.stdout.write(shown or "queued")
            time.sleep(POLL_SECONDS)
            package.refresh_from_db()
        if not package.is_ready:
            raise CommandError(package.error or package.get_status_display().lower())
        for one in package.all_variants:
            if one.problem:
                self.stdout.write(f"{one.label}: {one.problem}")
            elif one.difference is not None:
                parity = one.parity
                self.stdout.write(
                    f"{one.label}: {parity['equal']} of {parity['documents']} outputs equal, field accuracy "
                    f"{100 * one.difference:+.1f} points ({100 * parity['difference_low']:+.1f} to "
                    f"{100 * parity['difference_high']:+.1f})"
                )
        self.stdout.write(f"{package} {package.sha256}{', signed' if package.is_signed else ''}")
