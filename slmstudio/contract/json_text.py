"""Strict JSON in and out: exact numbers, no duplicate names, bounded depth and size."""

import hashlib
import json
import re
from decimal import Decimal
from typing import Any, NoReturn

import simplejson

MAX_DEPTH = 64
MAX_DIGITS = 60
MAX_CHARACTERS = 10_000_000

_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\],]|[^"{}\[\],:\s]+', re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
# Escapes that may stand for rejected characters: NUL, a lone surrogate.
_SUSPECT_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_MESSAGES = {
    "Expecting value": "a value is expected here",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing here",
    "Expecting ':' delimiter": "a colon is missing here",
    "Expecting property name enclosed in double quotes": "a name in double quotes is expected here",
    "Unterminated string starting at": "the string that starts here has no closing double quote",
    "Invalid control character at": "a line break or control character inside a string must be written as an escape",
    "Invalid \\escape": "a backslash here is not followed by a valid JSON escape",
    "Invalid \\uXXXX escape": "\\u must be followed by four hexadecimal digits",
    "Extra data": "there is unexpected text after the end of the JSON value",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "the text starts with a byte order mark; remove it",
}


class JsonError(ValueError):
    """The text is not JSON as this project accepts it. ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{message} (line {line}, column {column})")
        self.message = message
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple[Any, ...]:
        return JsonError, (self.message, self.line, self.column)


class _RejectedError(Exception):
    """Raised inside the parser, whose hooks do not know their position; ``_locate`` finds it."""


def _error(text: str, position: int, message: str) -> JsonError:
    line = text.count("\n", 0, position) + 1
    return JsonError(message, line, position - text.rfind("\n", 0, position))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RejectedError
    return result


def _number_fits(number: Decimal) -> bool:
    """True if the number has at most ``MAX_DIGITS`` digits, also when written without an exponent."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int):
        return False
    return len(digits) <= MAX_DIGITS and exponent >= -MAX_DIGITS and len(digits) + exponent <= MAX_DIGITS


def text_fits(text: str) -> bool:
    """Whether a text has no NUL and no lone surrogate, which UTF-8 or the database cannot store."""
    return "\0" not in text and (text.isascii() or not _SURROGATE.search(text))


def number_fits(number: int | Decimal) -> bool:
    """Whether a number is finite and has at most ``MAX_DIGITS`` digits written out."""
    if isinstance(number, int):
        return abs(number) < int(10**MAX_DIGITS)
    return _number_fits(number)


def _decimal(text: str) -> Decimal:
    # Very long exponents make Decimal itself raise or overflow, so length is checked first.
    if len(text) > 2 * MAX_DIGITS + 8:
        raise _RejectedError
    number = Decimal(text)
    if not _number_fits(number):
        raise _RejectedError
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS + 1 or (len(text) == MAX_DIGITS + 1 and text[0] != "-"):
        raise _RejectedError
    return int(text)


def _constant(_: str) -> NoReturn:
    raise _RejectedError


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_decimal, parse_int=_integer, parse_constant=_constant
)


def _check_number(text: str, position: int, token: str) -> None:
    try:
        if "." in token or "e" in token or "E" in token:
            _decimal(token)
        else:
            _integer(token)
    except _RejectedError:
        message = f"a number may have at most {MAX_DIGITS} digits; this one has more"
        raise _error(text, position, message) from None
    except (ArithmeticError, ValueError):
        return  # not a number at all: the parser's own message is better


def _check_string(text: str, position: int, token: str) -> str | None:
    if len(token) < 2 or token[-1] != '"':
        return None  # unterminated: the parser reports it
    if "\\" not in token:
        if "\0" in token:
            raise _error(text, position, "a string must not contain the NUL character")
        return token[1:-1]
    try:
        value = json.loads(token, strict=False)
    except ValueError:
        return None
    if "\0" in value:
        raise _error(text, position, "a string must not contain the NUL character")
    if _SURROGATE.search(value):
        raise _error(text, position, "a string must not contain a lone surrogate")
    return str(value)


def _locate(text: str) -> None:
    """Scan the tokens once and raise JsonError at the first one that is not accepted."""
    names: list[set[str] | None] = []
    expects_name = False
    for match in _TOKEN.finditer(text):
        token, position = match.group(), match.start()
        if token in ("{", "["):
            names.append(set() if token == "{" else None)
            expects_name = token == "{"
            if len(names) > MAX_DEPTH:
                raise _error(text, position, f"values must not be nested more than {MAX_DEPTH} deep")
        elif token in ("}", "]"):
            if names:
                names.pop()
            expects_name = False
        elif token == ",":
            expects_name = bool(names) and names[-1] is not None
        elif token[0] == '"':
            value = _check_string(text, position, token)
            seen = names[-1] if names else None
            if expects_name and seen is not None and value is not None:
                if value in seen:
                    raise _error(text, position, f"the name {token[:80]} occurs twice in the same object")
                seen.add(value)
            expects_name = False
        elif token in ("NaN", "Infinity", "-Infinity"):
            raise _error(text, position, f"{token} is not a number in JSON")
        elif token[0] in "-0123456789":
            _check_number(text, position, token)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _error(before, len(before), "the bytes from here on are not valid UTF-8") from None


def loads(text: str | bytes, *, max_characters: int | None = MAX_CHARACTERS) -> Any:
    """Parse strict JSON. Fractions become ``Decimal`` with every digit kept, integers ``int``.

    Raises JsonError on invalid JSON, and on duplicate names, NaN and Infinity, lone surrogates, NUL, more than
    64 levels, numbers of more than 60 digits, invalid UTF-8 and texts over ``max_characters``.
    """
    if isinstance(text, bytes):
        text = _decode(text)
    if max_characters is not None and len(text) > max_characters:
        raise JsonError(f"the text is longer than {max_characters:,} characters")
    lone = None if text.isascii() else _SURROGATE.search(text)
    if lone:
        raise _error(text, lone.start(), "a string must not contain a lone surrogate")
    doubtful = "\\u" in text and _SUSPECT_ESCAPE.search(text)
    if doubtful or text.count("{") + text.count("[") > MAX_DEPTH:
        _locate(text)
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        if text[error.pos : error.pos + 1] == "\0":
            raise _error(text, error.pos, "a string must not contain the NUL character") from None
        raise _error(text, error.pos, _MESSAGES.get(error.msg, error.msg)) from None
    except (_RejectedError, ArithmeticError):
        _locate(text)
        raise JsonError("the text contains a number or an object that is not accepted") from None


def dumps(value: Any) -> str:
    """Compact JSON: no white space, non-ASCII letters unescaped, ``Decimal`` as a number with all its digits.

    Raises ValueError for NaN and infinities, TypeError for values that JSON cannot represent.
    """
    text: str = simplejson.dumps(
        value,
        use_decimal=True,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
        namedtuple_as_object=False,
    )
    # JSON allows the control character DEL unescaped, but constrained decoders write only its escape.
    return text.replace("\x7f", "\\u007f")


def sha256(value: Any) -> str:
    """SHA-256 in hex of a text (as UTF-8), or of a JSON value's compact text. The order of names counts."""
    text = value if isinstance(value, str) else dumps(value)
    return hashlib.sha256(text.encode()).hexdigest()
