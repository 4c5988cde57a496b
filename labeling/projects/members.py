"""The members of a project, their roles, and the project's settings. A project always has an owner."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from labeling.annotation import gold
from labeling.failure_tags import MAX_OWN_TAGS, vocabulary_of
from labeling.models import ApiToken, Document, Membership, Presence, Project
from slmstudio.access import Action, Role, may, require
from slmstudio.errors import Refused
from slmstudio.hooks import access_changed, note_audit

#: names for ``change_settings``
SETTINGS = (
    "review_required",
    "four_eyes",
    "overlap_share",
    "overlap_people",
    "withheld_share",
    "confidence_floor",
    "extra_tags",
)
MAX_OVERLAP = 10


@transaction.atomic
def add(*, project: Project, by: User | None, username: str, role: str) -> Membership:
    """Adds a user to the project.

    Raises:
        Refused: the user name or role does not exist, or the user is a member.
    """
    require(project, by, Action.ADMINISTER)
    lock_project(project)
    user = get_user_model().objects.filter(username=username.strip(), is_active=True).first()
    if user is None:
        raise Refused(
            "No user has this name. Usernames are case-sensitive. Administrators can create accounts.",
            field="username",
        )
    _check_role(role)
    if Membership.objects.filter(project=project, user=user).exists():
        raise Refused(f"{user.get_username()} is already a member of this project.", field="username")
    membership = Membership.objects.create(project=project, user=user, role=role, role_given_by=by)
    note_audit(project=project, user=by, action="added", about=f"member {user.get_username()}", details={"role": role})
    access_changed.call()
    return membership


@transaction.atomic
def change_role(*, membership: Membership, by: User | None, role: str) -> Membership:
    """Changes the role of a member, which groups then no longer decide. Users can reduce their own role, not extend it.

    Raises:
        Refused: the role does not exist, the project would have no owner, the user would extend their own role, a
            service account would approve, or the membership has ended.
    """
    require(membership.project, by, Action.ADMINISTER)
    lock_project(membership.project)
    _check_role(role)
    row = _row(membership)
    before = row.role
    if before == role:
        return row
    if before == Role.OWNER:
        _require_owner(row)
    if row.is_service and (may(role, Action.APPROVE) or may(role, Action.ADMINISTER)):
        raise Refused("A service account cannot have a role that approves or manages the project.", field="role")
    if by is not None and row.user_id == by.pk and role not in self_assignable_roles(before):
        raise Refused(
            f"You cannot promote yourself: the role {Role(role).label.lower()} has permissions that you do not have. "
            "Another owner can give you this role.",
            field="role",
        )
    row.role, row.role_since, row.role_given_by, row.is_from_group = role, timezone.now(), by, False
    row.save(update_fields=["role", "role_since", "role_given_by", "is_from_group"])
    details = {"before": before, "after": role}
    note_audit(
        project=membership.project,
        user=by,
        action="changed",
        about=f"member {row.user.get_username()}",
        details=details,
    )
    access_changed.call()
    return row


def self_assignable_roles(role: str) -> list[str]:
    """The roles with no permission beyond ``role``: those that a user can give themselves."""
    own = {action for action in Action if may(role, action)}
    return [other for other in Role.values if own.issuperset(a for a in Action if may(other, a))]


@transaction.atomic
def remove(*, membership: Membership, by: User | None) -> None:
    """Removes a member. Their labels stay; their tokens are revoked, their assignments and locks removed. A service
    account is deactivated.

    Raises:
        Refused: it is the last owner, or the membership has ended.
    """
    require(membership.project, by, Action.ADMINISTER)
    project = membership.project
    lock_project(project)
    row = _row(membership)
    if row.role == Role.OWNER:
        _require_owner(row)
    name = row.user.get_username()
    ApiToken.objects.filter(project=project, user=row.user, revoked_at=None).update(revoked_at=timezone.now())
    documents = Document.objects.filter(project=project)
    documents.filter(assigned_to=row.user).update(assigned_to=None)
    documents.filter(locked_by=row.user).update(locked_by=None, locked_until=None)
    Presence.objects.filter(user=row.user, document__project=project).delete()
    row.delete()
    if row.is_service:
        get_user_model().objects.filter(pk=row.user_id).update(is_active=False)
    note_audit(project=project, user=by, action="removed", about=f"member {name}", details={"role": row.role})
    access_changed.call()


def change_settings(*, project: Project, by: User, values: Mapping[str, Any]) -> Project:
    """Changes settings. Shares are numbers from 0 to 1.

    Raises:
        Refused: a name is unknown or a value out of range; nothing was changed.
    """
    require(project, by, Action.ADMINISTER)
    unknown = sorted(set(values).difference(SETTINGS))
    if unknown:
        raise Refused(f"Unknown setting {unknown[0]}.", field="form")
    for name in ("overlap_share", "withheld_share", "confidence_floor"):
        if name in values and not 0 <= values[name] <= 1:
            raise Refused("Enter a percentage from 0 to 100.", field=name)
    if "overlap_people" in values and not 2 <= values["overlap_people"] <= MAX_OVERLAP:
        raise Refused(f"The overlap must be from 2 to {MAX_OVERLAP}.", field="overlap_people")
    clean = dict(values)
    if "extra_tags" in clean:
        clean["extra_tags"] = _tags(clean["extra_tags"], project)
    with transaction.atomic():
        row = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        changed = {name: value for name, value in clean.items() if getattr(row, name) != value}
        before = {name: getattr(row, name) for name in changed}
        for name, value in changed.items():
            setattr(row, name, value)
            setattr(project, name, value)
        try:
            row.full_clean(exclude=["slug"])
        except ValidationError as error:
            raise Refused(" ".join(error.messages), field=next(iter(error.message_dict))) from error
        if changed:
            row.save(update_fields=list(changed))
            if changed.get("review_required") is False:
                gold.promote_submitted(row)
                transaction.on_commit(partial(gold.promote_late_submits, row), robust=True)
            details = {"before": before, "after": changed}
            note_audit(project=project, user=by, action="changed", about="settings", details=details)
    return project


def _tags(names: Any, project: Project) -> list[str]:
    """The names of new tags are normalized; those of imported documents stay as they are."""
    vocabulary, existing = vocabulary_of(project), project.extra_tags
    tags: list[str] = []
    for tag in names:
        name = str(tag).strip()
        name = name if name in existing else "_".join(name.split()).lower()
        if not name:
            continue
        if len(name) > 40 or not name.isprintable() or "," in name:
            raise Refused(
                f"The tag {name[:60]} is invalid: use up to 40 printable characters and no comma.", field="extra_tags"
            )
        if name not in vocabulary and name not in tags:
            tags.append(name)
    if len(tags) > MAX_OWN_TAGS:
        raise Refused(f"A project can have at most {MAX_OWN_TAGS} tags of its own.", field="extra_tags")
    return tags


def lock_project(project: Project) -> None:
    """Serializes changes of members in a transaction, so two owners cannot remove each other."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _row(membership: Membership) -> Membership:
    row: Membership | None = Membership.objects.select_related("user").filter(pk=membership.pk).first()
    if row is None:
        raise Refused("This user is no longer a member of the project.", field="form", code="ended")
    return row


def _check_role(role: str) -> None:
    if role not in Role.values:
        raise Refused(f"Unknown role {role[:40]}. The roles are {', '.join(Role.values)}.", field="role")


def _require_owner(row: Membership) -> None:
    others = Membership.objects.filter(project=row.project, role=Role.OWNER).exclude(pk=row.pk)
    if not others.exists():
        raise Refused(
            f"{row.user.get_username()} is the only owner. Make another member an owner first.",
            field="role",
        )
