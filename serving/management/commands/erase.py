"""``manage.py erase PROJECT TEXT``: erases a text wherever a project stores it; see ``docs/data.md``."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.erasure import services
from slmstudio.errors import Refused


class Command(BaseCommand):
    """Erases a text, such as a name or a document's ID, and records the erasure in the audit log."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("text", help="what is erased, as whole words in any case")
        parser.add_argument("--dry-run", action="store_true", help="only show where it is")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        try:
            if options["dry_run"]:
                found = services.find(project=project, user=None, text=options["text"])
                self._write(found.counts, found.kept, found.trained)
                return
            report = services.erase(project=project, user=None, text=options["text"])
        except Refused as refusal:
            raise CommandError(refusal.message) from None
        self._write(report.counts, report.kept, report.trained)
        self.stdout.write(f"Erasure {report.pk}, SHA-256 {report.sha256}")

    def _write(self, counts: dict[str, int], kept: dict[str, int], trained: list[str]) -> None:
        for name, number in counts.items():
            self.stdout.write(f"{number:8,}  {name}")
        for name, number in kept.items():
            self.stdout.write(f"{number:8,}  {name}: kept")
        for name in trained:
            self.stdout.write(f"          trained on it: {name}")
