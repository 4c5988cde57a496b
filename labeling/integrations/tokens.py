"""Tokens: a program acts as one member in one project, within scopes, and never can more than that member can now.

A token is shown once, when it is made; the database has its hash. Scopes are what the token is for; the role is asked
for again at every request, so a token of somebody who was taken off the project opens nothing.
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
from slmstudio.access import Action, may
from slmstudio.audit import note
from slmstudio.errors import Refused

SCOPES: dict[str, str] = {
    "read": "read the project: contract, documents, labels, dataset versions, exports",
    "label": "take, save and submit documents, skip, flag and comment",
    "review": "approve and reject labels",
    "import": "bring in documents and predictions of models",
    "curate": "freeze dataset versions",
    "webhooks": "manage webhooks",
}
#: what a role must allow for a scope to be of use
ACTIONS: dict[str, Action] = {
    "read": Action.READ,
    "label": Action.LABEL,
    "review": Action.REVIEW,
    "import": Action.CURATE,
    "curate": Action.CURATE,
    "webhooks": Action.ADMINISTER,
}
BEGINNING = "slm_"
MOST_TOKENS = 20
MOST_DAYS = 3_650
_NOTED_EVERY = timedelta(minutes=1)


def scopes_for(role: str) -> dict[str, str]:
    """The scopes that are of use to somebody with this role."""
    return {scope: text for scope, text in SCOPES.items() if may(role, ACTIONS[scope])}


def create(*, project: Project, user: User, name: str, scopes: Iterable[str], days: int | None) -> tuple[ApiToken, str]:
    """A token of a member, and the text that is shown once. ``days``: how long it is good for; None: for ever.

    Raises:
        Refused: no name, no or an unknown scope, one that the role does not allow, a time out of range, or too many.
    """
    membership = Membership.objects.get(project=project, user=user)
    name, chosen = " ".join(name.split()), set(scopes)
    if not name or len(name) > 80 or not name.isprintable():
        raise Refused("Give it a name of up to 80 characters, so that you know later what it is for.", field="name")
    unknown = sorted(chosen.difference(SCOPES))
    if unknown:
        raise Refused(f"There is no scope {unknown[0]}; there are {', '.join(SCOPES)}.", field="scopes")
    if not chosen:
        raise Refused("Choose at least one scope.", field="scopes")
    beyond = [scope for scope in SCOPES if scope in chosen and not may(membership.role, ACTIONS[scope])]
    if beyond:
        raise Refused(f"As {membership.get_role_display()} you cannot use the scope {beyond[0]}.", field="scopes")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise Refused(f"A token is good for 1 to {MOST_DAYS:,} days, or without an end.", field="days")
    text = f"{BEGINNING}{secrets.token_urlsafe(32)}"
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
        _hold(project.pk)
        if alive(project, user).count() >= MOST_TOKENS:
            raise Refused(f"You have {MOST_TOKENS} tokens in this project. Revoke one first.", field="form")
        try:
            token.full_clean(exclude=["project", "user"])
        except ValidationError as error:
            raise Refused(" ".join(error.messages), field="form") from error
        token.save()
        note(project=project, user=user, action="made", about=f"token {token.prefix}", details={"scopes": token.scopes})
    return token, text


def authenticate(text: str) -> ApiToken | None:
    """The token with its person and project, if it is one that counts; notes its use, at most once a minute.

    ``role`` is what the person is in the project now, None where they are no member: read in the same query.
    """
    if not text.startswith(BEGINNING) or len(text) > 100:
        return None
    members = Membership.objects.filter(project=OuterRef("project"), user=OuterRef("user"))
    rows = ApiToken.objects.select_related("user", "project").annotate(role_now=Subquery(members.values("role")[:1]))
    token: Any = rows.filter(sha256=_hash(text), revoked_at=None).first()
    now = timezone.now()
    if token is None or not token.user.is_active or (token.expires_at is not None and token.expires_at <= now):
        return None
    if token.last_used_at is None or token.last_used_at <= now - _NOTED_EVERY:
        unnoted = Q(last_used_at=None) | Q(last_used_at__lte=now - _NOTED_EVERY)
        ApiToken.objects.filter(unnoted, pk=token.pk).update(last_used_at=now)
    found: ApiToken = token
    found.role = token.role_now
    return found


def is_valid_header(authorization: str) -> bool:
    """Whether a header ``Authorization`` carries a token that counts."""
    kind, _, text = authorization.partition(" ")
    return kind.lower() == "bearer" and authenticate(text.strip()) is not None


def revoke(*, token: ApiToken, user: User) -> bool:
    """Ends a token for good; False where it had ended already."""
    with transaction.atomic():
        _hold(token.project_id)
        ended = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) == 1
        if ended:
            note(project=token.project, user=user, action="revoked", about=f"token {token.prefix}")
    return ended


def end_with_password(*, instance: Any, created: bool, **_: Any) -> None:
    """Ends the tokens of a person whose password was changed or whose account was switched off: a receiver of Django's
    ``post_save``. Hashing the same password anew, as a login does, is no change.
    """
    if created or (instance._password is None and instance.is_active):
        return
    why = "password changed" if instance.is_active else "account switched off"
    for token in ApiToken.objects.filter(user=instance, revoked_at=None).select_related("project").order_by("project"):
        with transaction.atomic():
            _hold(token.project_id)
            if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()) == 1:
                about, details = f"token {token.prefix}", {"reason": why}
                note(project=token.project, user=None, action="revoked", about=about, details=details)


def _hold(project: int) -> None:
    """The project's row first, as whoever writes into its audit log holds it; tokens of one project one at a time."""
    Project.objects.select_for_update(no_key=True).get(pk=project)


def alive(project: Project, user: User | None = None) -> Any:
    """The tokens of a project that are not revoked, newest first; of one person where one is named."""
    rows = ApiToken.objects.filter(project=project, revoked_at=None).select_related("user").order_by("-pk")
    return rows if user is None else rows.filter(user=user)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
