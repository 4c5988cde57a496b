"""``manage.py evidence_bundle``: writes the evidence bundle of a gate report, for ``manage.py verify_bundle``."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.bundles.archive import checked_files, zipped
from evaluation.bundles.verification import LIST
from evaluation.models import GateReport
from slmstudio.errors import Refused
from slmstudio.storage.files import write_whole


class Command(BaseCommand):
    """Writes the evidence bundle of a gate report, and prints the hash for ``manage.py verify_bundle --sha256``."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("report", type=int, help="number of the gate report")
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--output", required=True, type=Path, help="path of the zip file")

    def handle(self, *args: Any, **options: Any) -> None:
        reports = GateReport.objects.with_content()
        report = reports.filter(project__slug=options["project"], number=options["report"]).first()
        if report is None:
            raise CommandError(f"Gate report {options['report']} not found in {options['project']}.")
        try:
            files = checked_files(report)
            write_whole(options["output"], zipped(files))
        except Refused as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(next(file.sha256 for file in files if file.path == LIST))
