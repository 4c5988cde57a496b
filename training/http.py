"""Small questions every page of the training side asks of a request."""

from typing import Any

from django.http import HttpRequest


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx asks for a fragment. Going back in the history asks for the whole page."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    return bool(htmx) and not htmx.history_restore_request


def whole(text: str | None) -> int:
    """A whole number as an address has it; 0 for anything else."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def slug_in(value: Any) -> str:
    """A slug as far as a database can hold it."""
    return str(value or "").replace("\0", "")
