"""``manage.py collect_documents``: stores captured requests as documents, with the answers as pre-labels."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.captures import services
from serving.management.users import member_who_may
from slmstudio.access import Action, Forbidden
from slmstudio.errors import Refused


class Command(BaseCommand):
    """Stores captured requests as documents. Run it again to continue after the limit."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument("--share", type=float, default=1.0, help="share of the documents, 0 to 1 (default: all)")
        parser.add_argument(
            "--limit",
            type=int,
            default=services.MAX_DOCUMENTS,
            help="maximum number of documents (default: %(default)s)",
        )
        parser.add_argument("--user", help="user to act as (default: the first member with permission)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        try:
            user = member_who_may(project, options["user"], Action.CURATE)
            found = services.collect(project=project, user=user, share=options["share"], limit=options["limit"])
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{found.documents} documents, {found.prelabels} pre-labels, {found.notes} comments, "
            f"{found.rejected} rejected,"
            f" {found.left} left"
        )
