"""Registers keys of the external model that callers may go on using, and removes them.

Only the external model can check a key, and it accepts those of all its customers. So the gateway forwards only keys
that the project has registered; their hashes are stored.
"""

import hashlib

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from labeling.integrations.tokens import PREFIX
from labeling.models import Project
from serving.models import CaptureKey
from serving.replicas.changes import announce
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit

MIN_LENGTH, MAX_LENGTH = 16, 500
MAX_KEYS = 100
#: characters at both ends of a key that are stored and shown
_SHOWN = 4


def key_sha256(project_id: int, key: str) -> str:
    """The hash of a key, of this project alone."""
    return hashlib.sha256(f"capture {project_id} {key}".encode(errors="replace")).hexdigest()


def register(*, project: Project, user: User, key: str) -> CaptureKey:
    """Lets callers with this key of the external model in.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is key: it is no key, is registered already, or there are too many.
    """
    require(project, user, Action.DEPLOY)
    key = key.strip()
    if not MIN_LENGTH <= len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise Refused(
            f"A key must have {MIN_LENGTH} to {MAX_LENGTH} characters and no spaces.", field="key", code="key"
        )
    if key.startswith(PREFIX):
        raise Refused("This is an SLM Studio token. Tokens do not need to be registered.", field="key", code="token")
    row = CaptureKey(
        project=project, sha256=key_sha256(project.pk, key), prefix=f"{key[:_SHOWN]}…{key[-_SHOWN:]}", created_by=user
    )
    try:
        with transaction.atomic():
            Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            if CaptureKey.objects.filter(project=project).in_use().count() >= MAX_KEYS:
                raise Refused(
                    f"This project already has {MAX_KEYS} registered keys. Remove one first.",
                    field="key",
                    code="too_many",
                )
            row.save(force_insert=True)
            note_audit(project=project, user=user, action="registered", about=f"client key {row.prefix}")
            transaction.on_commit(announce)
    except IntegrityError:
        raise Refused("This key is already registered.", field="key", code="known") from None
    return row


def remove(*, row: CaptureKey, user: User) -> None:
    """Lets callers with a key in no longer. Raises Forbidden."""
    require(row.project, user, Action.DEPLOY)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=row.project_id)
        if CaptureKey.objects.filter(pk=row.pk).in_use().update(removed_at=timezone.now()):
            note_audit(project=row.project, user=user, action="removed", about=f"client key {row.prefix}")
            transaction.on_commit(announce)
