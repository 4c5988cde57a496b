"""Redaction of texts and outputs for the review queue and the documents that come from it. Pure.

By patterns: it finds what has a fixed form, not names.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads

_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
#: international, or with an area code that begins with 0
_PHONE = re.compile(
    r"(?<![\w.,/-])(?:(?:\+|00)\d{1,3}[ ./-]?(?:\(0\))?(?:[ ./-]?\d){6,12}|0\d{2,4}[ /-]\d{3,8})(?![\w-])"
)
_IP = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _is_card(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1)."""
    total = 0
    for at, digit in enumerate(reversed(_digits(text))):
        value = int(digit) * (1 + at % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_iban(text: str) -> bool:
    """The checksum modulo 97 (ISO 13616)."""
    plain = text.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


#: kind -> title, pattern and check, in the order in which they are replaced
KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[str], bool]]] = {
    "email": ("Email addresses", _EMAIL, lambda text: True),
    "iban": ("IBANs", _IBAN, _is_iban),
    "card": ("Card numbers", _CARD, _is_card),
    "phone": ("Phone numbers", _PHONE, lambda text: True),
    "ip": ("IP addresses", _IP, lambda text: True),
}


def redact(text: str, kinds: Iterable[str]) -> str:
    """The text with ``[email]`` and so on in the place of values of these kinds."""
    wanted = set(kinds)
    for kind, (_, pattern, is_one) in KINDS.items():
        if kind in wanted:
            text = pattern.sub(partial(_replaced, kind, is_one), text)
    return text


def _replaced(kind: str, is_one: Callable[[str], bool], match: re.Match[str]) -> str:
    return f"[{kind}]" if is_one(match[0]) else match[0]


def redact_json(text: str, kinds: Iterable[str]) -> str:
    """A JSON text with its values redacted; what is no JSON stays."""
    try:
        return dumps(redact_value(loads(text), kinds)) if kinds else text
    except (JsonError, ValueError):
        return text


def redact_value(value: Any, kinds: Iterable[str]) -> Any:
    """A JSON value with its texts redacted; names of fields stay."""
    wanted = tuple(kinds)
    if not wanted:
        return value
    if isinstance(value, str):
        return redact(value, wanted)
    if isinstance(value, dict):
        return {name: redact_value(item, wanted) for name, item in value.items()}
    if isinstance(value, list):
        return [redact_value(item, wanted) for item in value]
    return value
