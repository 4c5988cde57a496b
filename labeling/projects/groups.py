"""Groups at the company's provider and their roles in a project.

A member whose role was given by hand keeps it. Of several groups the one with the most permissions counts. No group
gives the role of an owner: a project's owners are named.
"""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.models import GroupRole, Membership, Project
from labeling.projects import members
from slmstudio.access import Action, Role, may, require
from slmstudio.errors import Refused
from slmstudio.hooks import access_changed, note_audit
from slmstudio.models import OidcAccount

#: roles that a group can give
ROLES = [(role.value, role.label) for role in Role if role != Role.OWNER]
#: groups of a project
MAX_GROUPS = 100


@transaction.atomic
def add(*, project: Project, by: User, group: str, role: str) -> GroupRole:
    """Gives the members of a group a role.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is group or role; the group has a role in the project.
    """
    require(project, by, Action.ADMINISTER)
    members.lock_project(project)
    group = group.strip()
    if not group or len(group) > 200 or not group.isprintable():
        raise Refused("Enter the name of a group as the provider sends it, up to 200 characters.", field="group")
    if role not in dict(ROLES):
        raise Refused(f"A group can have the roles {', '.join(dict(ROLES))}.", field="role")
    existing = GroupRole.objects.filter(project=project, group=group).first()
    if existing is not None:
        text = f"{group} has the role {existing.role}. A group has one role in a project: remove that one first."
        raise Refused(text, field="group")
    if project.group_roles.count() >= MAX_GROUPS:
        raise Refused(f"A project can have {MAX_GROUPS} groups.", field="group")
    row = GroupRole.objects.create(project=project, group=group, role=role)
    note_audit(project=project, user=by, action="added", about=f"group {group}", details={"role": role})
    _apply_to_members(row)
    return row


@transaction.atomic
def remove(*, row: GroupRole, by: User) -> None:
    """Removes a group; its members lose the role unless another group gives it."""
    require(row.project, by, Action.ADMINISTER)
    members.lock_project(row.project)
    details = {"role": row.role}
    note_audit(project=row.project, user=by, action="removed", about=f"group {row.group}", details=details)
    row.delete()
    _apply_to_members(row)


def _apply_to_members(row: GroupRole) -> None:
    accounts = OidcAccount.objects.filter(groups__contains=[row.group], refused_at=None).select_related("user")
    for account in accounts:
        _apply_to_project(row.project, account.user, account.groups)


@transaction.atomic
def apply_groups(user: User, groups: list[str]) -> None:
    """Gives a user the roles of these groups and takes those that no group gives any more. A function of
    ``hooks.groups_changed``.
    """
    given = Project.objects.filter(group_roles__group__in=groups)
    had = Project.objects.filter(memberships__user=user, memberships__is_from_group=True)
    for project in (given | had).distinct().order_by("pk"):
        _apply_to_project(project, user, groups)


def _apply_to_project(project: Project, user: User, groups: list[str]) -> None:
    members.lock_project(project)
    found = GroupRole.objects.filter(project=project, group__in=groups)
    role = max((row.role for row in found), key=_permissions, default="")
    membership = Membership.objects.filter(project=project, user=user).first()
    about = f"member {user.get_username()}"
    if membership is None and role:
        Membership.objects.create(project=project, user=user, role=role, is_from_group=True)
        note_audit(project=project, user=None, action="added", about=about, details={"role": role, "by": "groups"})
        access_changed.call()
    elif membership is None or not membership.is_from_group or membership.role == role:
        return
    elif role:
        before, membership.role, membership.role_since = membership.role, role, timezone.now()
        membership.save(update_fields=["role", "role_since"])
        details = {"before": before, "after": role, "by": "groups"}
        note_audit(project=project, user=None, action="changed", about=about, details=details)
        access_changed.call()
    else:
        members.remove(membership=membership, by=None)


def _permissions(role: str) -> int:
    return sum(may(role, action) for action in Action)
