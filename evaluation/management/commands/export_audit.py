"""``manage.py export_audit PROJECT [--output FILE]``: a project's audit log as JSON lines with its hashes.

Keep the last line's ``sha256`` away from the database: ``manage.py verify_audit PROJECT --head`` then shows whether
entries were taken away or written anew since.
"""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.audit import services as audit_services
from labeling.models import Project


class Command(BaseCommand):
    """Writes the audit log of a project as JSON lines."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("--output", type=Path, help="output file (default: standard output)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"Project {options['project']!r} not found.")
        lines = audit_services.as_lines(audit_services.entries(project=project))
        if options["output"] is None:
            sys.stdout.writelines(lines)
            return
        with options["output"].open("w", encoding="utf-8") as file:
            file.writelines(lines)
