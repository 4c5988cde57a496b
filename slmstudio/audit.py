"""What is worth an entry in the audit log, said by an app that does not know where the log is kept.

The app that keeps the log registers ``hooks.audit_noted``. A note is made in the transaction of what it reports.
"""

from typing import Any

from django.contrib.auth.models import User

from slmstudio.hooks import audit_noted


def note(*, project: Any, user: User | None, action: str, about: str, details: dict[str, Any] | None = None) -> None:
    """Notes who did what: ``action`` is a verb in the past, ``about`` what it was done to; ``details`` are JSON-ready.

    Secrets never go into ``details``.
    """
    audit_noted.call(project=project, user=user, action=action, about=about, details=details)
