"""API tokens: a program acts as one member of one project, within scopes and the member's current role.

A token is shown once, when it is created; the database stores its hash. The role is read at every request, so the token
of a removed member is invalid.
"""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from labeling.models import ApiToken, Membership, Project
from slmstudio.access import Action, may, require
from slmstudio.errors import Refused
from slmstudio.hooks import access_changed, note_audit

_SCOPES: dict[str, tuple[Action, str]] = {
    "read": (Action.READ, "Read the project: contract, documents, labels, dataset versions, exports"),
    "label": (Action.LABEL, "Open, save, submit, skip, tag and comment on documents"),
    "review": (Action.REVIEW, "Approve and reject labels"),
    "import": (Action.CURATE, "Import documents and predictions"),
    "contract": (Action.CONTRACT, "Draft schemas from examples"),
    "curate": (Action.CURATE, "Freeze dataset versions"),
    "webhooks": (Action.ADMINISTER, "Manage webhooks"),
    "erase": (Action.ADMINISTER, "Erase personal data"),
    "train": (Action.RUN, "Create and cancel studies"),
    "evaluate": (Action.RUN, "Start evaluations and create gate reports"),
    "approve": (Action.APPROVE, "Approve and reject gate reports"),
    "endpoints": (Action.RUN, "Add and remove external models"),
    "extract": (Action.DEPLOY, "Send documents to the deployed model"),
    "feedback": (Action.DEPLOY, "Report whether answers of the deployed model are correct"),
    "deploy": (Action.DEPLOY, "Deploy and roll back"),
}
#: what each scope allows, in words, and the permission that it requires
SCOPES: dict[str, str] = {scope: text for scope, (_, text) in _SCOPES.items()}
ACTIONS: dict[str, Action] = {scope: action for scope, (action, _) in _SCOPES.items()}
PREFIX = "slm_"
#: characters of anything that can be a token
MAX_LENGTH = 100
MAX_TOKENS = 20
DEFAULT_DAYS = 90
MAX_DAYS = 3_650
_LAST_USED_INTERVAL = timedelta(minutes=1)


def scopes_for(role: str) -> dict[str, str]:
    """The scopes that a role can use."""
    return {scope: text for scope, text in SCOPES.items() if may(role, ACTIONS[scope])}


def create(
    *, project: Project, user: User, name: str, scopes: Iterable[str], days: int | None, by: User | None = None
) -> tuple[ApiToken, str]:
    """Creates a token of ``user``; returns it and its secret, which is shown once. ``days``: its lifetime; None: no
    expiry. ``by``: an owner, who creates it for a service account.

    Raises:
        Refused: the name, scopes or lifetime are invalid, or the member has too many tokens.
    """
    require(project, by or user, Action.ADMINISTER if by else Action.READ)
    membership = Membership.objects.get(project=project, user=user)
    if by is not None and not membership.is_service:
        raise Refused("Members create their own tokens.", field="form")
    name, chosen = " ".join(name.split()), set(scopes)
    if not name or len(name) > 80 or not name.isprintable():
        raise Refused("Enter a name of up to 80 characters.", field="name")
    unknown = sorted(chosen.difference(SCOPES))
    if unknown:
        raise Refused(f"Unknown scope {unknown[0]}. The scopes are {', '.join(SCOPES)}.", field="scopes")
    if not chosen:
        raise Refused("Select at least one scope.", field="scopes")
    forbidden = [scope for scope in SCOPES if scope in chosen and not may(membership.role, ACTIONS[scope])]
    if forbidden:
        raise Refused(
            f"The role {membership.get_role_display().lower()} cannot use the scope {forbidden[0]}.", field="scopes"
        )
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise Refused(f"A token can be valid for 1 to {MAX_DAYS:,} days, or have no expiration date.", field="days")
    text = f"{PREFIX}{secrets.token_urlsafe(32)}"
    token = ApiToken(
        project=project,
        user=user,
        name=name,
        prefix=text[:12],
        sha256=_hash(text),
        scopes=[scope for scope in SCOPES if scope in chosen],
        expires_at=None if days is None else timezone.now() + timedelta(days=days),
    )
    with transaction.atomic():
        _lock_project(project.pk)
        if active_tokens(project, user).count() >= MAX_TOKENS:
            raise Refused(f"You have {MAX_TOKENS} tokens in this project. Revoke one first.", field="form")
        try:
            token.full_clean(exclude=["project", "user"])
        except ValidationError as error:
            raise Refused(" ".join(error.messages), field="form") from error
        token.save()
        details = {"scopes": token.scopes, "account": user.get_username()} if by else {"scopes": token.scopes}
        note_audit(project=project, user=by or user, action="made", about=f"token {token.prefix}", details=details)
        access_changed.call()
    return token, text


def authenticate(text: str) -> ApiToken | None:
    """The token with its user and project if it is valid; records its use at most once a minute.

    ``role`` is the current role of the user in the project, None if they are not a member.
    """
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        return None
    members = Membership.objects.filter(project=OuterRef("project"), user=OuterRef("user"))
    rows = ApiToken.objects.select_related("user", "project").annotate(role_now=Subquery(members.values("role")[:1]))
    token: Any = rows.filter(sha256=_hash(text), revoked_at=None).first()
    now = timezone.now()
    if token is None or not token.user.is_active or (token.expires_at is not None and token.expires_at <= now):
        return None
    if token.last_used_at is None or token.last_used_at <= now - _LAST_USED_INTERVAL:
        outdated = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_INTERVAL)
        ApiToken.objects.filter(outdated, pk=token.pk).update(last_used_at=now)
    valid: ApiToken = token
    valid.role = token.role_now
    return valid


def is_valid_header(authorization: str) -> bool:
    """Whether an ``Authorization`` header has a valid token."""
    scheme, _, text = authorization.partition(" ")
    return scheme.lower() == "bearer" and authenticate(text.strip()) is not None


def revoke(*, token: ApiToken, user: User) -> bool:
    """Revokes a token; False if it was revoked."""
    require(token.project, user, Action.READ)
    with transaction.atomic():
        _lock_project(token.project_id)
        revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) == 1
        if revoked:
            note_audit(project=token.project, user=user, action="revoked", about=f"token {token.prefix}")
            access_changed.call()
    return revoked


def revoke_on_password_change(*, instance: Any, created: bool, **_: Any) -> None:
    """Revokes the tokens of a user whose password was changed or whose account was deactivated (on ``post_save``).

    A login that only upgrades the password hash is not a change.
    """
    if created or (instance._password is None and instance.is_active):
        return
    reason = "password changed" if instance.is_active else "account disabled"
    for token in ApiToken.objects.filter(user=instance, revoked_at=None).select_related("project").order_by("project"):
        with transaction.atomic():
            _lock_project(token.project_id)
            if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) == 1:
                about, details = f"token {token.prefix}", {"reason": reason}
                note_audit(project=token.project, user=None, action="revoked", about=about, details=details)
                access_changed.call()


def _lock_project(project: int) -> None:
    """Serializes changes of tokens; writers of the audit log lock the project first."""
    Project.objects.select_for_update(no_key=True).get(pk=project)


def active_tokens(project: Project, user: User | None = None) -> Any:
    """The tokens of a project, or of one user in it, that are not revoked; the newest first."""
    rows = ApiToken.objects.filter(project=project, revoked_at=None).select_related("user").order_by("-pk")
    return rows if user is None else rows.filter(user=user)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
