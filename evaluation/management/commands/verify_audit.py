"""``manage.py verify_audit [PROJECT...] [--head SHA256]``: computes every hash of the audit log anew.

Ends with 0 where all entries are as they were written, 1 where one is not, a kept hash is gone, or the database does
not refuse changes of the log. ``--head`` is a hash of one project's log that is stored outside the database.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluation.audit import hash_chain
from labeling.models import Project


class Command(BaseCommand):
    """Checks the chain of each project's audit log."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("projects", nargs="*", help="project slugs (default: all projects)")
        parser.add_argument(
            "--head", default="", help="a head hash that you recorded earlier; requires exactly one project"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        slugs, head = options["projects"], options["head"].strip().lower()
        if head and len(slugs) != 1:
            raise CommandError("--head requires exactly one project.")
        projects = list(Project.objects.filter(slug__in=slugs) if slugs else Project.objects.all())
        missing = sorted(set(slugs) - {project.slug for project in projects})
        if missing:
            raise CommandError(f"Project {missing[0]!r} not found.")
        wrong = 0
        for project in sorted(projects, key=lambda project: project.slug):
            chain = hash_chain.verify(project, head=head)
            wrong += bool(chain.problem)
            state = chain.problem or f"{chain.entries} entries, head {chain.head or 'none'}"
            self.stdout.write(f"{project.slug}: {state}")
        off = hash_chain.disabled_triggers()
        if off:
            self.stdout.write(f"The database does not protect the log. Disabled triggers: {', '.join(off)}.")
        if wrong or off:
            raise CommandError("The audit log was changed after it was written.")
