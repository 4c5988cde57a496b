"""Strict reading of settings from environment variables.

Every function takes the variable's name and its default, and either returns a value of its type or raises ``EnvError``,
a sentence with the variable's name and the expected value. An empty variable counts as not set. Nothing is guessed:
``DEBUG=ture`` is an error and not False.
"""

# The functions are called env.str, env.bool, env.int and env.list, so the built-in types are used through builtins.
import builtins
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
_TRUTH: Final = {
    word: word in ("1", "true", "yes", "on") for word in ["1", "true", "yes", "on", "0", "false", "no", "off"]
}
_HOST_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


class EnvError(Exception):
    """A variable is missing or invalid. ``name`` is the variable's name. A secret value is not in the message."""

    def __init__(
        self, name: builtins.str, expects: builtins.str, found: builtins.str | None, *, is_secret: builtins.bool = False
    ) -> None:
        self.name = name
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


def _parsed(name: builtins.str, default: T | None, expects: builtins.str, parse: Callable[[builtins.str], T]) -> T:
    """What ``parse`` makes of the variable's value; without a value the default.

    Raises:
        EnvError: ``parse`` raises ValueError or LookupError, or there is neither a value nor a default.
    """
    value = os.environ.get(name, "").strip()
    if not value and default is not None:
        return default
    if value:
        try:
            return parse(value)
        except (ValueError, LookupError):
            pass
    raise EnvError(name, expects, value or None)


def str(name: builtins.str, *, default: builtins.str) -> builtins.str:
    """The variable's value, without surrounding blanks."""
    return os.environ.get(name, "").strip() or default


def bool(name: builtins.str, *, default: builtins.bool) -> builtins.bool:
    """1, true, yes, on or 0, false, no, off, in any case. Raises EnvError."""

    def parse(value: builtins.str) -> builtins.bool:
        return _TRUTH[value.lower()]

    return _parsed(name, default, "1, true, yes or on, or 0, false, no or off", parse)


def int(
    name: builtins.str, *, default: builtins.int, minimum: builtins.int, maximum: builtins.int | None = None
) -> builtins.int:
    """A whole number in decimal digits between ``minimum`` and ``maximum``, both included. Raises EnvError."""

    def parse(value: builtins.str) -> builtins.int:
        number = builtins.int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else -1
        if number < minimum or (maximum is not None and number > maximum):
            raise ValueError
        return number

    limits = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    return _parsed(name, default, f"a whole number {limits}", parse)


def choice(name: builtins.str, *, choices: Sequence[builtins.str], default: builtins.str) -> builtins.str:
    """One of ``choices``, ignoring case; returned as written in ``choices``. Raises EnvError."""

    def parse(value: builtins.str) -> builtins.str:
        return {known.casefold(): known for known in choices}[value.casefold()]

    return _parsed(name, default, f"one of {', '.join(choices)}", parse)


def url(name: builtins.str, *, schemes: Sequence[builtins.str], default: builtins.str | None = None) -> builtins.str:
    """A URL whose scheme is one of ``schemes``; without a default it must be set. Raises EnvError."""

    def parse(value: builtins.str) -> builtins.str:
        parts = urlsplit(value)
        _ = parts.port  # an invalid port raises only when it is read
        if parts.scheme not in schemes or not value.startswith(f"{parts.scheme}://"):
            raise ValueError
        return value

    addresses = " or ".join(f"{scheme}://" for scheme in schemes)
    return _parsed(name, default, f"an address beginning with {addresses}", parse)


def list(
    name: builtins.str,
    *,
    default: builtins.list[builtins.str],
    expects: builtins.str = "values",
    is_valid: Callable[[builtins.str], builtins.bool] = builtins.bool,
) -> builtins.list[builtins.str]:
    """Values separated by commas, each without surrounding blanks; empty ones are an error. Raises EnvError."""

    def parse(value: builtins.str) -> builtins.list[builtins.str]:
        values = [part.strip() for part in value.split(",")]
        if not all(part and is_valid(part) for part in values):
            raise ValueError
        return values

    return _parsed(name, default, f"{expects} separated by commas, none of them empty", parse)


def hosts(name: builtins.str, *, default: builtins.list[builtins.str]) -> builtins.list[builtins.str]:
    """Hosts separated by commas, each a name, an address, or a network such as 10.0.0.0/8. Raises EnvError."""
    expects = "hosts (each a name, an address or a network such as 10.0.0.0/8)"
    return list(name, default=default, expects=expects, is_valid=_is_host)


def domains(name: builtins.str, *, default: builtins.list[builtins.str]) -> builtins.list[builtins.str]:
    """As ``hosts``; a name with a dot in front (.example.com) stands for the domain and its subdomains."""
    expects = "hosts (each a name, .example.com for a domain with its subdomains, an address, or a network)"
    return list(name, default=default, expects=expects, is_valid=lambda value: _is_host(value.removeprefix(".")))


def networks(name: builtins.str, *, default: builtins.list[builtins.str]) -> builtins.list[builtins.str]:
    """Addresses and networks separated by commas, such as 127.0.0.1 or 10.0.0.0/8. Raises EnvError."""
    return list(name, default=default, expects="addresses or networks", is_valid=_is_network)


def _is_network(value: builtins.str) -> builtins.bool:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def _is_host(value: builtins.str) -> builtins.bool:
    """Whether a value can be a host. A name whose last part is a number would be a mistyped address."""
    is_name = _HOST_NAME.fullmatch(value) is not None and not value.rstrip(".").rpartition(".")[2].isdigit()
    return is_name or _is_network(value)


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
