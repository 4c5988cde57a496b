"""Permissions: one table of roles by action, and the checked lookup of a project's objects."""

from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet, TextChoices
from django.http import Http404
from django.shortcuts import get_object_or_404

from slmstudio import hooks


class Role(TextChoices):
    """Roles in a project."""

    ANNOTATOR = "annotator", "Annotator"
    REVIEWER = "reviewer", "Reviewer"
    ENGINEER = "engineer", "Engineer"
    MANAGER = "manager", "Manager"
    OWNER = "owner", "Owner"


class Action(TextChoices):
    """An action in a project. The label completes the sentence "you may not ..."."""

    READ = "read", "read this project"
    LABEL = "label", "label documents"
    REVIEW = "review", "review or adjudicate"
    CURATE = "curate", "import, assign, edit in bulk or freeze a dataset"
    ORDER_QUEUE = "order_queue", "set the order of the queue"
    CONTRACT = "contract", "change the contract or the schema"
    RUN = "run", "benchmark, train, evaluate or package"
    PROPOSE_POLICY = "propose_policy", "propose a gate policy"
    SET_POLICY = "set_policy", "set the gate policy"
    APPROVE = "approve", "approve, reject or waive"
    DEPLOY = "deploy", "deploy or roll back a model"
    ADMINISTER = "administer", "change members, tokens or retention"


#: what the members of an archived project can still do, by their roles
OF_ARCHIVED = frozenset({Action.READ, Action.ADMINISTER})
_EVERYONE = frozenset(Role)
TABLE: dict[Action, frozenset[Role]] = {
    Action.READ: _EVERYONE,
    Action.LABEL: _EVERYONE,
    Action.REVIEW: frozenset({Role.REVIEWER, Role.ENGINEER, Role.OWNER}),
    Action.CURATE: frozenset({Role.ENGINEER, Role.OWNER}),
    Action.ORDER_QUEUE: frozenset({Role.ENGINEER, Role.MANAGER, Role.OWNER}),
    Action.CONTRACT: frozenset({Role.ENGINEER, Role.OWNER}),
    Action.RUN: frozenset({Role.ENGINEER, Role.OWNER}),
    Action.PROPOSE_POLICY: frozenset({Role.ENGINEER, Role.MANAGER, Role.OWNER}),
    Action.SET_POLICY: frozenset({Role.MANAGER, Role.OWNER}),
    Action.APPROVE: frozenset({Role.MANAGER}),
    Action.DEPLOY: frozenset({Role.ENGINEER, Role.MANAGER, Role.OWNER}),
    Action.ADMINISTER: frozenset({Role.OWNER}),
}


def may(role: str, action: Action) -> bool:
    """Whether a role allows an action."""
    return role in TABLE[action]


class Forbidden(PermissionDenied):
    """A role ("": none) that does not allow the action; the message says what is denied and who is allowed."""

    def __init__(self, role: str, action: Action) -> None:
        roles = " or ".join(str(Role(r).label).lower() for r in Role if r in TABLE[action])
        subject = f"As {Role(role).label.lower()} you" if role else "Without a role in this project you"
        super().__init__(f"{subject} cannot {action.label}. Required role: {roles}.")


class Archived(Forbidden):
    """An archived project, in which no role allows the action."""

    def __init__(self, action: Action) -> None:
        PermissionDenied.__init__(
            self, f"You cannot {action.label}: the project is archived. An owner can restore it in its settings."
        )


def require(project: Any, user: User | None, *actions: Action) -> None:
    """Checks the role of a user in a project: the first statement of every service that writes.

    The role allows at least one of ``actions``. The user None is the studio itself: a job, a watch or an operator.

    Raises:
        Forbidden: it allows none of them, or the user is not a member.
        Archived: the project is read-only, also for the studio itself.
    """
    if project.is_read_only and OF_ARCHIVED.isdisjoint(actions):
        raise Archived(actions[0])
    if user is None:
        return
    checked: tuple[int, str] | None = getattr(project, "checked_role", None)  # by this request
    if checked is not None and checked[0] == user.pk:
        role = checked[1]
    else:
        role = user.memberships.filter(project=project.pk).values_list("role", flat=True).first() or ""
    if not any(may(role, action) for action in actions):
        raise Forbidden(role, actions[0])


def project_for(user: User | AnonymousUser, slug: str, action: Action) -> Any:
    """The project with this slug, if the user is a member whose role allows the action.

    The project has ``role`` (the user's role in it) and ``can`` (a set of action names for templates).

    Raises:
        Http404: no such project, or the user is not a member: outsiders do not learn that it exists.
        Forbidden: a member, but the role does not allow it.
    """
    membership = next((member for member in hooks.membership.call(user, slug) if member is not None), None)
    if membership is None:
        raise Http404("No such project.")
    return authorize(membership.project, user, membership.role, action)


def authorize(project: Any, user: User | AnonymousUser, role: str, action: Action) -> Any:
    """A project in which the user's role is known, as ``project_for`` returns it.

    Raises:
        Forbidden: the role does not allow the action.
        Archived: the project is read-only.
    """
    if not may(role, action):
        raise Forbidden(role, action)
    if project.is_read_only and action not in OF_ARCHIVED:
        raise Archived(action)
    project.role, project.checked_role = role, (user.pk, role)
    project.can = {a.value for a in (OF_ARCHIVED if project.is_read_only else Action) if may(role, a)}
    return project


def object_for(
    user: User | AnonymousUser,
    slug: str,
    action: Action,
    objects: type[Model] | QuerySet[Any],
    **lookup: Any,
) -> tuple[Any, Any]:
    """The project as ``project_for`` returns it, and one object of it found by ``lookup``; 404 if it is another's."""
    project = project_for(user, slug, action)
    row = get_object_or_404(objects, project=project, **lookup)
    row.project = project
    return project, row
