"""Invitations: a link that adds whoever opens it to a project, once, and lets them create an account.

The link is shown once, and sent by mail where mail is set up. Only a hash of its secret is stored.
"""

import hashlib
import logging
import secrets
from datetime import timedelta
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from labeling.models import Invitation, Membership, Project
from labeling.projects import members
from slmstudio.access import Action, Role, require
from slmstudio.errors import Refused
from slmstudio.hooks import access_changed, note_audit
from slmstudio.text.formatting import format_date

logger = logging.getLogger(__name__)
#: days until a link expires
DAYS = 7
#: open invitations of a project
MAX_OPEN = 200
#: characters of a secret; a longer one is not looked up
_MAX_LENGTH = 100


@transaction.atomic
def invite(*, project: Project, by: User, role: str, email: str = "") -> tuple[Invitation, str]:
    """Creates an invitation; returns it with its secret.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is role or email.
    """
    require(project, by, Action.ADMINISTER)
    email = email.strip()
    if role not in Role.values:
        raise Refused(f"Unknown role {role[:40]}. The roles are {', '.join(Role.values)}.", field="role")
    if email:
        try:
            validate_email(email)
        except ValidationError as error:
            raise Refused("Enter a valid email address.", field="email") from error
    if project.invitations.open().count() >= MAX_OPEN:
        raise Refused(f"There are {MAX_OPEN} open invitations. Revoke some first.", field="email")
    secret = secrets.token_urlsafe(32)
    expires = timezone.now() + timedelta(days=DAYS)
    invitation = Invitation.objects.create(
        project=project, role=role, email=email, sha256=_hash(secret), created_by=by, expires_at=expires
    )
    details = {"role": role, "email": email}
    note_audit(project=project, user=by, action="made", about=f"invitation {invitation.pk}", details=details)
    return invitation, secret


@transaction.atomic
def revoke(*, invitation: Invitation, by: User) -> None:
    """Revokes an open invitation; one that has ended stays as it is."""
    require(invitation.project, by, Action.ADMINISTER)
    revoked = Invitation.objects.open().filter(pk=invitation.pk).update(revoked_at=timezone.now())
    if revoked:
        note_audit(project=invitation.project, user=by, action="revoked", about=f"invitation {invitation.pk}")


def by_secret(secret: str) -> Invitation:
    """The invitation of a link that can be accepted.

    Raises:
        Refused: there is none, or it was used, was revoked or has expired, or its sender is no longer an owner.
    """
    rows = Invitation.objects.select_related("project", "created_by")
    invitation: Invitation | None = rows.filter(sha256=_hash(secret)).first() if len(secret) < _MAX_LENGTH else None
    if invitation is None:
        raise Refused("This invitation does not exist. Check that the link is complete.", code="unknown")
    sender = f"Ask {invitation.created_by.get_username()} for a new one."
    if invitation.accepted_at is not None:
        raise Refused(f"This invitation has been used. {sender}", code="used")
    if invitation.revoked_at is not None:
        raise Refused(f"This invitation was revoked. {sender}", code="revoked")
    if invitation.expires_at <= timezone.now():
        raise Refused(f"This invitation has expired. {sender}", code="expired")
    owners = Membership.objects.filter(project=invitation.project, role=Role.OWNER)
    if not owners.filter(user=invitation.created_by, user__is_active=True).exists():
        raise Refused("This invitation is not valid: its sender is no longer an owner of the project.", code="sender")
    return invitation


def is_valid(secret: str) -> bool:
    """Whether an account may be created with this secret. A function of ``hooks.invitation_checked``."""
    try:
        by_secret(secret)
    except Refused:
        return False
    return True


@transaction.atomic
def accept(*, secret: str, user: User) -> Membership:
    """Makes a user a member of the project.

    Raises:
        Refused: as ``by_secret``, or the user is a member.
    """
    members.lock_project(by_secret(secret).project)
    invitation = by_secret(secret)  # as it is now
    project = invitation.project
    if Membership.objects.filter(project=project, user=user).exists():
        raise Refused(f"{user.get_username()} is already a member of this project.", code="member")
    membership = Membership.objects.create(
        project=project, user=user, role=invitation.role, role_given_by=invitation.created_by
    )
    Invitation.objects.filter(pk=invitation.pk).update(accepted_by=user, accepted_at=timezone.now())
    details = {"role": invitation.role, "invited_by": invitation.created_by.get_username()}
    note_audit(project=project, user=user, action="accepted", about=f"invitation {invitation.pk}", details=details)
    access_changed.call()
    return membership


def link(request: HttpRequest, secret: str) -> str:
    """The address to hand over."""
    path = reverse("invitation", args=[secret])
    return f"{settings.STUDIO_URL.rstrip('/')}{path}" if settings.STUDIO_URL else request.build_absolute_uri(path)


def send(invitation: Invitation, address: str) -> bool:
    """Sends the link by mail; returns whether the mail server took it."""
    if not settings.EMAIL_HOST or not invitation.email:
        return False
    sender, project = invitation.created_by.get_username(), invitation.project.name
    text = (
        f"{sender} invites you to the project {project} of SLM Studio.\n\nOpen this link to join. It works once, until "
        f"{format_date(timezone.localtime(invitation.expires_at))}:\n\n{address}\n"
    )
    subject = " ".join(f"SLM Studio: invitation to {project}".split())  # a line break would begin another header
    try:
        return bool(EmailMessage(subject, text, to=[invitation.email]).send())
    except (OSError, SMTPException) as error:
        logger.warning("invitation %s could not be sent: %s", invitation.pk, error)
        return False


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
