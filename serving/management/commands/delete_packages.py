"""``manage.py delete_packages``: deletes the files of old packages that nothing needs; see ``docs/packages.md``."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.retention.packages import delete_old
from slmstudio.text.formatting import format_bytes


class Command(BaseCommand):
    """Deletes the files of old packages. ``manage.py periodic`` does the same every hour for all projects."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", help="slug of the project (default: all)")
        parser.add_argument(
            "--keep", type=int, help="number of newest packages to keep in each project (default: PACKAGES_KEPT)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keep"] is not None and options["keep"] < 0:
            raise CommandError("--keep must be 0 or more.")
        projects = Project.objects.filter(packages__isnull=False).distinct().order_by("slug")
        if options["project"]:
            projects = projects.filter(slug=options["project"])
            if not Project.objects.filter(slug=options["project"]).exists():
                raise CommandError(f"There is no project {options['project']!r}.")
        number, size = 0, 0
        for project in projects:
            for package in delete_old(project, keep=options["keep"], dry_run=options["dry_run"]):
                self.stdout.write(f"{project.slug}: package {package.number}, {format_bytes(package.size)}")
                number, size = number + 1, size + package.size
        done = "would be deleted" if options["dry_run"] else "deleted"
        self.stdout.write(f"{number} packages {done}, {format_bytes(size)}")
