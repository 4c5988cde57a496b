"""Who a command acts for."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from labeling.models import Membership, Project
from slmstudio.access import Action, may


def member_who_may(project: Project, action: Action, name: str | None, *, returncode: int = 1) -> Any:
    """The account with this name; None: the first member who may. Raises CommandError."""
    if name:
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.", returncode=returncode)
        return user
    rows = Membership.objects.filter(project=project).select_related("user").order_by("pk")
    found = next((row.user for row in rows if may(row.role, action)), None)
    if found is None:
        raise CommandError(f"No member of the project may {action.label}.", returncode=returncode)
    return found
