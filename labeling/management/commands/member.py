"""``manage.py member PROJECT USER ROLE``: adds a user to a project, or changes their role; the role ``none``
removes them. For projects without an active owner; owners use the settings page. The audit log records the change.
"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Membership, Project
from labeling.projects import members
from slmstudio.access import Role
from slmstudio.errors import Refused

NONE = "none"


class Command(BaseCommand):
    """Adds, changes or removes a member of a project."""

    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="the slug of the project")
        parser.add_argument("user", help="the username")
        parser.add_argument("role", choices=[*Role.values, NONE])

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        name, role = options["user"], options["role"]
        row = Membership.objects.filter(project=project, user__username=name).first()
        # by=None: the operator is not a user of the project
        try:
            if role == NONE:
                if row is None:
                    raise CommandError(f"{name} is not a member of {project.slug}.")
                members.remove(membership=row, by=None)
            elif row is None:
                members.add(project=project, by=None, username=name, role=role)
            else:
                members.change_role(membership=row, by=None, role=role)
        except Refused as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(f"{name}: {'not a member' if role == NONE else role} of {project.slug}")
