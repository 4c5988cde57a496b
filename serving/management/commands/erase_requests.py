"""``manage.py erase_requests``: erases logged requests and the documents made of them; see ``docs/serving.md``."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.retention import services
from slmstudio.access import Forbidden
from slmstudio.errors import Refused


class Command(BaseCommand):
    """Erases logged requests, and records the erasure in the audit log."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--caller", default="", help="erase the requests of this caller")
        what.add_argument("--request", nargs="+", default=[], metavar="ID", help="request IDs")
        parser.add_argument("--with-gold", action="store_true", help="erase documents with a gold label, too")
        parser.add_argument("--user", help="user for the audit log (default: the application)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        user = None
        if options["user"]:
            user = get_user_model().objects.filter(username=options["user"]).first()
            if user is None:
                raise CommandError(f"There is no account {options['user']!r}.")
        try:
            erased = services.erase(
                project=project, user=user, caller=options["caller"], ids=options["request"],
                with_gold=options["with_gold"],
            )  # fmt: skip
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        documents = erased.documents
        self.stdout.write(f"{erased.requests} requests and {len(documents.documents)} documents erased")
        if erased.lines:
            self.stdout.write(f"{erased.lines} lines of batches and of the rejected log erased")
        if erased.live_batches:
            self.stdout.write(f"{erased.live_batches} batches have not ended; run this again when they have")
        if documents.with_gold:
            self.stdout.write(
                f"{len(documents.with_gold)} documents with a gold label kept; erase them with --with-gold: "
                + ", ".join(documents.with_gold)
            )
        if documents.in_use:
            self.stdout.write(
                f"{len(documents.in_use)} documents kept because dataset versions, evaluations, the regression suite "
                f"or comparisons use them: {', '.join(documents.in_use)}"
            )
