"""Who a command of deployments acts for."""

from typing import Any

from labeling.management.users import member_who_may
from labeling.models import Project
from slmstudio.access import Action

__all__ = ["member_who_deploys", "member_who_may"]


def member_who_deploys(project: Project, name: str | None) -> Any:
    """The account with this name; None: the first member who may deploy. Raises CommandError."""
    return member_who_may(project, name, Action.DEPLOY)
