"""The stream of audit entries, sign-in events and account changes: the logger ``slmstudio.audit``."""

import logging
from typing import Any

from django.db import transaction
from django.db.models import Model

logger = logging.getLogger("slmstudio.audit")


def emit(message: str, **facts: Any) -> None:
    """Sends one entry to the stream, once it is stored for good."""
    transaction.on_commit(lambda: logger.info("%s", message, extra={"facts": facts}))


def on_sign_in_event(sender: type[Model], instance: Any, **more: Any) -> None:
    """Receiver of a Django signal: a row of ``SignInEvent`` was added."""
    emit(f"{instance.name} {instance.kind}", kind="sign-in", who=instance.name, action=instance.kind,
         address=instance.address)  # fmt: skip


def on_admin_entry(sender: type[Model], instance: Any, **more: Any) -> None:
    """Receiver of a Django signal: an administrator changed an account."""
    emit(
        str(instance),
        kind="administration",
        who=instance.user.get_username(),
        action=instance.get_action_flag_display(),
        about=instance.object_repr,
        details=instance.get_change_message(),
    )
