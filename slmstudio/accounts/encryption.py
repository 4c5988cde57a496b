"""Secrets of third parties in the database, encrypted with a key that is derived from SECRET_KEY.

A value that a former key encrypted is readable while SECRET_KEY_FALLBACKS lists that key.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from slmstudio.accounts.secret_keys import all_keys

_PURPOSE = b"slmstudio.accounts.encryption"


class Unreadable(Exception):
    """No listed key decrypts a value."""


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
        raise Unreadable("No key of SECRET_KEY and SECRET_KEY_FALLBACKS decrypts this value.") from error


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(_key(key)) for key in all_keys()])


def _key(secret: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
