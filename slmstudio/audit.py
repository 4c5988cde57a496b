"""What is worth an entry in the audit log, said by an app that does not know where the log is kept.

The app that keeps it registers ``keep_in`` when Django starts. A note is made in the transaction of what it tells of.
"""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User

_keepers: list[Callable[..., object]] = []


def keep_in(keeper: Callable[..., object]) -> None:
    """Registers a function that is called with the arguments of ``note``."""
    if keeper not in _keepers:
        _keepers.append(keeper)


def note(*, project: Any, user: User | None, action: str, about: str, details: dict[str, Any] | None = None) -> None:
    """Notes who did what: ``action`` is a verb in the past, ``about`` what it was done to; ``details`` are JSON-ready.

    Secrets never go into ``details``.
    """
    for keeper in _keepers:
        keeper(project=project, user=user, action=action, about=about, details=details)
