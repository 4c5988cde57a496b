"""Passes: signed by the studio for a member who tries the model on its page, for a command, or for a batch."""

from dataclasses import dataclass
from typing import Any

from django.core import signing

PREFIX = "slm_pass_"
_SALT = "serving.gateway.pass"
MAX_AGE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Pass:
    """Requests to one project. ``token_id``: whose use they are; ``is_batch``: live requests go first."""

    slug: str
    token_id: int | None = None
    is_batch: bool = False


def issue(slug: str, *, token_id: int | None = None, is_batch: bool = False) -> str:
    """A pass to a project that the member may use, valid for five minutes."""
    return PREFIX + signing.TimestampSigner(salt=_SALT).sign_object([slug, token_id, is_batch])


def verify(text: str) -> Pass | None:
    """A valid pass."""
    try:
        value: Any = signing.TimestampSigner(salt=_SALT).unsign_object(
            text.removeprefix(PREFIX), max_age=MAX_AGE_SECONDS
        )
    except signing.BadSignature:
        return None
    if not isinstance(value, list) or len(value) != 3:
        return None
    slug, token_id, is_batch = value
    return Pass(str(slug), token_id, bool(is_batch))
