"""Passes: signed by the studio for a member who tries the model on its page or by a command, valid for five minutes."""

from django.core import signing

PREFIX = "slm_pass_"
_SALT = "serving.gateway.pass"
MAX_AGE_SECONDS = 300


def issue(slug: str) -> str:
    """A pass for one project; the caller has checked the member's role."""
    return PREFIX + signing.TimestampSigner(salt=_SALT).sign_object(slug)


def verify(text: str) -> str | None:
    """The slug of a valid pass."""
    try:
        slug = signing.TimestampSigner(salt=_SALT).unsign_object(text.removeprefix(PREFIX), max_age=MAX_AGE_SECONDS)
    except signing.BadSignature:
        return None
    return slug if isinstance(slug, str) else None
