"""Events for the audit log, sent by apps that do not know where the log is stored.

The app that stores the log registers ``hooks.audit_noted``. An event is sent in the transaction of what it reports.
"""

from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model

from slmstudio.hooks import audit_noted


def note(*, project: Model, user: User | None, action: str, about: str, details: dict[str, Any] | None = None) -> None:
    """Logs who did what: ``action`` is a past-tense verb, ``about`` its object; ``details`` are JSON-ready.

    Secrets never go into ``details``.
    """
    audit_noted.call(project=project, user=user, action=action, about=about, details=details)
