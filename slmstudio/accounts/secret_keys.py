"""The keys that sign sessions, passes and webhooks: SECRET_KEY, and the former ones in SECRET_KEY_FALLBACKS.

Django verifies signatures with all of them. Secrets that are derived from a key name it, so that they stay the same
while their key is listed.
"""

from collections.abc import Sequence

from django.conf import settings
from django.utils.crypto import salted_hmac

from slmstudio import env

#: characters of a key, and how many different ones
_MIN_LENGTH, _MIN_DIFFERENT = 32, 8


def require_strong_keys() -> None:
    """Checks the keys of the environment before a program starts; only debug mode accepts weak ones.

    Raises:
        EnvError: a key is short, repeats few characters, or is from a template of Django. The message does not show it.
    """
    if env.bool("DEBUG", default=False):
        return
    for name in ("SECRET_KEY", "ENCRYPTION_KEY"):
        if key := env.str(name, default=""):
            _require_strong(name, [key])
        _require_strong(f"{name}_FALLBACKS", env.list(f"{name}_FALLBACKS", default=[]))


def _require_strong(name: str, keys: Sequence[str]) -> None:
    for key in keys:
        if len(key) < _MIN_LENGTH or len({*key}) < _MIN_DIFFERENT or key.startswith("django-insecure-"):
            expects = f"at least {_MIN_LENGTH} random characters, such as those of: openssl rand -hex 32"
            raise env.EnvError(name, expects, key, is_secret=True)


def all_keys() -> list[str]:
    """The current key and the former ones, newest first."""
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


def name_of(key: str) -> str:
    """Eight characters that name a key and do not reveal it."""
    return salted_hmac("slmstudio.key_name", "", secret=key, algorithm="sha256").hexdigest()[:8]


def key_named(name: str) -> str:
    """The key of this name; the current one where it is not listed any more."""
    return next((key for key in all_keys() if name_of(key) == name), settings.SECRET_KEY)
