"""``manage.py replay``: sends logged requests to the candidate in shadow."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from serving.deployments import queries
from serving.management.users import member_who_may
from serving.replays import services
from slmstudio.access import Action, Forbidden
from slmstudio.errors import Refused


class Command(BaseCommand):
    """Replays logged requests in the background; the Deploy page shows the progress."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="slug of the project")
        parser.add_argument(
            "--limit", type=int, default=1_000, help="maximum number of requests (default: %(default)s)"
        )
        parser.add_argument("--user", help="user to act as (default: the first member with permission)")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        deployment = queries.find(project) if project is not None else None
        if project is None or deployment is None:
            raise CommandError(f"Nothing is deployed in {options['project']!r}.")
        try:
            user = member_who_may(project, options["user"], Action.DEPLOY)
            replay = services.start(deployment=deployment, user=user, limit=options["limit"])
        except (Refused, Forbidden) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{replay}: {replay.progress_total} requests")
