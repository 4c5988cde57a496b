"""Strict reading of settings from environment variables.

Every function takes the variable's name and either returns a value of its type or raises ``EnvError``, a sentence with
the variable's name and the expected value. Without a ``default`` the variable must be set. An empty variable counts as
not set. Nothing is guessed: ``DEBUG=ture`` is an error and not False.
"""

# The functions are called env.str, env.bool, env.int and env.list, so the built-in types are used through builtins.
import builtins
import ipaddress
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
SECRET_LENGTH: Final = 32
_SECRET_CHARACTERS: Final = 8
_HOST_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


class EnvError(Exception):
    """A variable is missing or invalid. ``name`` is the variable's name. A secret value is not in the message."""

    def __init__(
        self, name: builtins.str, expects: builtins.str, found: builtins.str | None, *, is_secret: builtins.bool = False
    ) -> None:
        self.name = name
        self.expects = expects
        if is_secret:
            what = "can be guessed"
        else:
            what = "is not set" if found is None else f"is {_quoted(found)}"
        super().__init__(f"The environment variable {name} {what}; it must be {expects}.")


def _quoted(value: builtins.str) -> builtins.str:
    """The value in quotes, without the password of an address, and truncated."""
    try:
        password = urlsplit(value).password
    except ValueError:
        password = None
    if password:
        value = value.replace(f":{password}@", ":***@")
    return repr(value if len(value) <= 80 else value[:77] + "...")


def _read(name: builtins.str) -> builtins.str | None:
    return os.environ.get(name, "").strip() or None


def str(name: builtins.str, *, default: builtins.str | None = None) -> builtins.str:
    """The variable's value, without surrounding blanks.

    Raises:
        EnvError: not set, and there is no default.
    """
    value = _read(name)
    if value is not None:
        return value
    if default is None:
        raise EnvError(name, "a string", None)
    return default


def bool(name: builtins.str, *, default: builtins.bool | None = None) -> builtins.bool:
    """1, true, yes, on or 0, false, no, off, in any case.

    Raises:
        EnvError: another value, or not set without a default.
    """
    value = _read(name)
    if value is None and default is not None:
        return default
    if value is not None and value.lower() in _TRUE:
        return True
    if value is not None and value.lower() in _FALSE:
        return False
    raise EnvError(name, "1, true, yes or on, or 0, false, no or off", value)


def int(
    name: builtins.str,
    *,
    default: builtins.int | None = None,
    minimum: builtins.int | None = None,
    maximum: builtins.int | None = None,
) -> builtins.int:
    """A whole number in decimal digits between ``minimum`` and ``maximum``, both included.

    Raises:
        EnvError: no such number, or not set without a default.
    """
    value = _read(name)
    if value is None and default is not None:
        return default
    expects = "a whole number"
    if minimum is not None and maximum is not None:
        expects += f" from {minimum} to {maximum}"
    elif minimum is not None:
        expects += f" of at least {minimum}"
    elif maximum is not None:
        expects += f" of at most {maximum}"
    digits = (value or "").removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise EnvError(name, expects, value)
    number = builtins.int(value or "")
    if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
        raise EnvError(name, expects, value)
    return number


def choice(name: builtins.str, *, choices: Sequence[builtins.str], default: builtins.str | None = None) -> builtins.str:
    """One of ``choices``, ignoring case; returned as written in ``choices``.

    Raises:
        EnvError: another value, or not set without a default.
    """
    value = _read(name)
    if value is None and default is not None:
        return default
    matches = [known for known in choices if value is not None and known.casefold() == value.casefold()]
    if not matches:
        raise EnvError(name, f"one of {', '.join(choices)}", value)
    return matches[0]


def url(name: builtins.str, *, schemes: Sequence[builtins.str], default: builtins.str | None = None) -> builtins.str:
    """A URL whose scheme is one of ``schemes``.

    Raises:
        EnvError: another scheme, an invalid URL, or not set without a default.
    """
    value = _read(name)
    if value is None and default is not None:
        return default
    expects = "an address beginning with " + " or ".join(f"{scheme}://" for scheme in schemes)
    if value is None:
        raise EnvError(name, expects, None)
    try:
        parts = urlsplit(value)
        _ = parts.port  # an invalid port raises only when it is read
    except ValueError:
        raise EnvError(name, expects, value) from None
    if parts.scheme not in schemes or not value.startswith(f"{parts.scheme}://"):
        raise EnvError(name, expects, value)
    return value


def list(name: builtins.str, *, default: Iterable[builtins.str] | None = None) -> builtins.list[builtins.str]:
    """Values separated by commas, each without surrounding blanks; empty ones are an error.

    Raises:
        EnvError: an empty value between two commas, or not set without a default.
    """
    value = _read(name)
    if value is None:
        if default is None:
            raise EnvError(name, "values separated by commas", None)
        return [*default]
    values = [part.strip() for part in value.split(",")]
    if not all(values):
        raise EnvError(name, "values separated by commas, none of them empty", value)
    return values


def hosts(name: builtins.str, *, default: Iterable[builtins.str] | None = None) -> builtins.list[builtins.str]:
    """Hosts separated by commas, each a name, an address, or a network such as 10.0.0.0/8.

    Raises:
        EnvError: a value that is none of these, or not set without a default.
    """
    values = list(name, default=default)
    for value in values:
        if not _is_host(value):
            expects = "hosts separated by commas, each a name, an address or a network such as 10.0.0.0/8"
            raise EnvError(name, f"{expects}; {_quoted(value)} is none of these", _read(name))
    return values


def networks(name: builtins.str, *, default: Iterable[builtins.str] | None = None) -> builtins.list[builtins.str]:
    """Addresses and networks separated by commas, such as 127.0.0.1 or 10.0.0.0/8.

    Raises:
        EnvError: a value that is neither, or not set without a default.
    """
    values = list(name, default=default)
    for value in values:
        try:
            ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise EnvError(name, "addresses or networks separated by commas", _read(name)) from None
    return values


def _is_host(value: builtins.str) -> builtins.bool:
    """Whether a value can be a host. A name whose last part is a number would be a mistyped address."""
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return _HOST_NAME.fullmatch(value) is not None and not value.rstrip(".").rpartition(".")[2].isdigit()
    return True


def require_strong(name: builtins.str, values: Sequence[builtins.str]) -> None:
    """Checks that keys cannot be guessed.

    Raises:
        EnvError: one is short, repeats few characters, or is from a template of Django; the message does not show it.
    """
    for value in values:
        if len(value) < SECRET_LENGTH or len({*value}) < _SECRET_CHARACTERS or value.startswith("django-insecure-"):
            expects = f"at least {SECRET_LENGTH} random characters, such as those of: openssl rand -hex 32"
            raise EnvError(name, expects, value, is_secret=True)


def secret_file(path: Path) -> builtins.str:
    """A secret in a file that only its owner may read; created on first use, 64 random characters.

    Two processes that call it concurrently get the same secret.

    Raises:
        OSError: the file can neither be read nor created.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written under another name and then linked, so that no process reads a partial secret.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
    finally:
        draft.unlink(missing_ok=True)
    return path.read_text().strip()
