"""Who a command acts for."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError

from labeling.models import Membership, Project
from slmstudio.access import Action, Forbidden, may, require


def member_who_may(project: Project, name: str | None, *actions: Action, returncode: int = 1) -> Any:
    """The member with this name, who must be allowed one of the actions; None: the first one who is allowed the first.

    Raises:
        CommandError: there is none, or the role allows none of the actions.
    """
    if name:
        user = get_user_model().objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account {name!r}.", returncode=returncode)
        try:
            require(project, user, *actions)
        except Forbidden as error:
            raise CommandError(str(error), returncode=returncode) from error
        return user
    rows = Membership.objects.filter(project=project).select_related("user").order_by("pk")
    member = next((row.user for row in rows if may(row.role, actions[0])), None)
    if member is None:
        raise CommandError(f"No member of the project may {actions[0].label}.", returncode=returncode)
    return member
