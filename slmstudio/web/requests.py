"""The request of a view behind the login."""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest


class SignedInRequest(HttpRequest):
    """A request of a signed-in user: ``LoginRequiredMiddleware`` redirects others. For types only."""

    user: User


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx requests a fragment. Navigating back in the history requests the whole page."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.history_restore_request


def positive_int(text: str | None) -> int:
    """A positive integer from a query string; 0 for anything else."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0
