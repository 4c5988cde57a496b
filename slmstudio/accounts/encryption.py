"""Secrets in the database, encrypted with ENCRYPTION_KEY; if it is not set, with a key derived from SECRET_KEY.

What a former key encrypted is readable while ENCRYPTION_KEY_FALLBACKS, SECRET_KEY or SECRET_KEY_FALLBACKS has that key.
``manage.py encrypt_secrets`` encrypts everything again with the current one.
"""

import base64
import logging
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models

from slmstudio.accounts.secret_keys import all_keys

logger = logging.getLogger(__name__)
_PURPOSE = b"slmstudio.accounts.encryption"
#: what all encrypted values begin with: the version of Fernet
_PREFIX = "gAAAA"


class Unreadable(Exception):
    """No listed key decrypts a value."""


def encryption_keys() -> list[str]:
    """The key that encrypts, and those that decrypt only."""
    first = settings.ENCRYPTION_KEY or settings.SECRET_KEY
    return [*dict.fromkeys((first, *settings.ENCRYPTION_KEY_FALLBACKS, *all_keys()))]


def encrypt(text: str) -> str:
    """The text encrypted with the current key; "" stays empty."""
    return _fernet().encrypt(text.encode()).decode() if text else ""


def decrypt(encrypted: str) -> str:
    """The text of a value of ``encrypt``. Raises Unreadable."""
    if not encrypted:
        return ""
    try:
        return _fernet().decrypt(encrypted.encode()).decode()
    except InvalidToken as error:
        raise Unreadable("No key of the settings decrypts this value.") from error


def encrypt_again(value: Any) -> Any:
    """A value, or a dictionary of values: what is encrypted in it is so with the current key. Raises Unreadable."""
    if isinstance(value, dict):
        return {name: encrypt_again(item) for name, item in value.items()}
    return encrypt(read(value)) if isinstance(value, str) and value.startswith(_PREFIX) else value


def read(stored: str) -> str:
    """The text of a value that may be from before it was encrypted. Raises Unreadable."""
    return decrypt(stored) if stored.startswith(_PREFIX) else stored


class EncryptedField(models.TextField):  # type: ignore[type-arg]  # Django's cannot be subscripted
    """Text that is encrypted in the database, so that no query can filter by it. Text from before is read as it is."""

    def get_prep_value(self, value: Any) -> Any:
        """The encrypted text."""
        text = super().get_prep_value(value)
        return encrypt(text) if isinstance(text, str) else text

    def from_db_value(self, value: str | None, *_: Any) -> str | None:
        """The text; "" where no key decrypts it."""
        try:
            return value if value is None else read(value)
        except Unreadable as error:
            logger.error("%s: %s", self, error)
            return ""


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(_key(key)) for key in encryption_keys()])


def _key(secret: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
