"""The JSON Schema dialect of this project: draft 2020-12 with exact numbers and checks of bounded time.

It differs from the plain ``jsonschema`` validator in six ways. Numbers may be ``Decimal``. All parts of a schema are
checked by this dialect, whatever draft their ``$schema`` names. ``pattern`` is matched by RE2 in time linear in the
text, or with a time limit (``patterns``), so no pattern can hang a process. ``required`` and ``additionalProperties``
report each field at its own path. ``uniqueItems`` is linear. ``format`` is checked, and accepts dates, times and
durations as Python's libraries write them: without a time zone, with fractions of a second.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal, localcontext
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from jsonschema.protocols import Validator

from slmstudio.contract.schema.patterns import pattern_matches
from slmstudio.contract.schema.work import spend


def is_number(value: Any) -> bool:
    """Whether a value is a JSON number (true and false are not)."""
    return isinstance(value, int | Decimal | float) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Whether a value is a JSON number without a fraction; 12.0 is one."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return True
    if isinstance(value, Decimal):
        return value.is_finite() and value == value.to_integral_value()
    return isinstance(value, float) and value.is_integer()


def identity(value: Any) -> Any:
    """A hashable that is equal exactly if JSON Schema considers two values equal (1 equals 1.0 and not true)."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, dict):
        return ("object", frozenset((name, identity(item)) for name, item in value.items()))
    if isinstance(value, list | tuple):
        return ("array", tuple(identity(item) for item in value))
    return value


def _multiple_of(validator: Validator, step: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not is_number(instance):
        return
    with localcontext() as context:
        context.prec = 200
        remainder = Decimal(instance) % Decimal(step)
    if remainder:
        yield ValidationError(f"{instance} is not a multiple of {step}")


def _pattern(validator: Validator, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not pattern_matches(pattern, instance):
        yield ValidationError(f"does not match {pattern}")


def _required(validator: Validator, names: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for name in names:
        if name not in instance:
            yield ValidationError("is required", path=[name])


#: keywords that check the value alone, without its parts or its context
FLAT = frozenset(
    {
        "type", "enum", "const", "format", "pattern", "minLength", "maxLength",
        "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    }
)  # fmt: skip


def _plainly_fits(validator: Any, value: Any, schema: Any) -> bool:
    """Whether a value matches a schema of flat keywords; false gives no reason.

    Creating a validator for every value, as ``descend`` does, takes longer than all of its checks.
    """
    for keyword, wanted in schema.items():
        check = validator.VALIDATORS.get(keyword)
        if check is None:
            continue  # title, x-slm and similar annotations
        if keyword not in FLAT or next(iter(check(validator, wanted, value, schema) or ()), None) is not None:
            return False
    return True


def _properties(validator: Any, properties: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for name, subschema in properties.items():
        if name not in instance:
            continue
        if subschema is False:  # jsonschema itself omits the path of these
            yield ValidationError("is not allowed", validator="False", path=[name], instance=instance[name])
        elif subschema is not True and not _plainly_fits(validator, instance[name], subschema):
            yield from validator.descend(instance[name], subschema, path=name, schema_path=name)


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in patterns.items():
        for name, item in instance.items():
            if pattern_matches(pattern, name):
                yield from validator.descend(item, subschema, path=name, schema_path=pattern)


def _property_names(validator: Any, names: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    fitting = validator.evolve(schema=names)
    for name in instance:
        if not fitting.is_valid(name):
            yield ValidationError("is not an allowed name", path=[name], instance=name)


def extra_names(instance: dict[str, Any], schema: Any) -> Iterator[str]:
    """Field names of an object that match neither ``properties`` nor ``patternProperties`` of its schema."""
    properties = schema.get("properties", ())
    patterns = schema.get("patternProperties", ())
    for name in instance:
        if name not in properties and not any(pattern_matches(pattern, name) for pattern in patterns):
            yield name


def _additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, dict) or allowed is True:
        return
    for name in extra_names(instance, schema):
        if allowed is False:
            yield ValidationError("is not a field of this schema", path=[name])
        else:
            yield from validator.descend(instance[name], allowed, path=name)


def _unique(validator: Validator, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list) and len({identity(item) for item in instance}) != len(instance):
        yield ValidationError("has repeated items")


def _enum(validator: Validator, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    wanted = identity(instance)
    if not any(identity(item) == wanted for item in allowed):
        yield ValidationError("is not one of the allowed values")


def _const(validator: Validator, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if identity(instance) != identity(allowed):
        yield ValidationError("is not the allowed value")


_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "number": lambda _, value: is_number(value),
        "integer": lambda _, value: is_integer(value),
        "array": lambda _, value: isinstance(value, list),
    }
)

ExactValidator: Any = validators.extend(
    Draft202012Validator,
    validators={
        "multipleOf": _multiple_of,
        "pattern": _pattern,
        "required": _required,
        "properties": _properties,
        "patternProperties": _pattern_properties,
        "propertyNames": _property_names,
        "additionalProperties": _additional,
        "uniqueItems": _unique,
        "enum": _enum,
        "const": _const,
    },
    type_checker=_CHECKER,
)


def _evolve(validator: Any, **changes: Any) -> Any:
    """The same validator with another schema. jsonschema's own method uses the class of the schema's ``$schema``,
    which would match patterns with ``re``.
    """
    spend(5)
    kept = {
        "schema": validator.schema,
        "format_checker": validator.format_checker,
        "registry": validator._registry,
        "_resolver": validator._resolver,
    }
    return ExactValidator(**{**kept, **changes})


ExactValidator.evolve = _evolve

# Dates, times and durations of ISO 8601 as restricted by RFC 3339 and its appendix A, with an optional time zone:
# Python writes naive times without one, and seconds with fractions.
_DATE_PATTERN = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
    r"02-(?:0[1-9]|[12][0-9]))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME_PATTERN = rf"{_CLOCK}:(?:[0-5][0-9]|60)(?:\.[0-9]+)?(?:[Zz]|[+-]{_CLOCK})?"
_TIMED = r"T(?:[0-9]+H(?:[0-9]+M)?(?:[0-9]+(?:\.[0-9]+)?S)?|[0-9]+M(?:[0-9]+(?:\.[0-9]+)?S)?|[0-9]+(?:\.[0-9]+)?S)"
_DAYS = r"(?:[0-9]+Y(?:[0-9]+M)?(?:[0-9]+D)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME_PATTERN = rf"{_LABEL}(?:\.{_LABEL})*"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_EMAIL_PATTERN = rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+"
_URI_CHARACTER = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})"
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_PATTERN = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_HEX = r"[0-9A-Fa-f]{1,4}"


def _ipv6_pattern() -> str:
    """RFC 3986, section 3.2.2: eight groups, the last two also as IPv4; one run of zeros may be omitted."""
    last = rf"(?:{_HEX}:{_HEX}|{_IPV4_PATTERN})"
    ends = ["", _HEX, *(rf"(?:{_HEX}:){{{count - 2}}}{last}" for count in range(2, 8))]
    starts = ["", *(rf"(?:(?:{_HEX}:){{0,{count - 1}}}{_HEX})?" for count in range(1, 8))]
    short = [f"{starts[7 - count]}::{end}" for count, end in enumerate(ends)]
    return "|".join([rf"(?:{_HEX}:){{6}}{last}", *short])


#: patterns of the formats, nearly complete (no leap days, no lengths); a decoder writes what they match
FORMAT_PATTERNS = {
    "date": _DATE_PATTERN,
    "time": _TIME_PATTERN,
    "date-time": rf"{_DATE_PATTERN}[Tt ]{_TIME_PATTERN}",
    "duration": rf"-?P(?:[0-9]+W|{_DAYS}(?:{_TIMED})?|{_TIMED})",
    "email": _EMAIL_PATTERN,
    "hostname": _HOSTNAME_PATTERN,
    "ipv4": _IPV4_PATTERN,
    "ipv6": _ipv6_pattern(),
    "uri": rf"[A-Za-z][A-Za-z0-9+.-]*:{_URI_CHARACTER}*(?:#{_URI_CHARACTER}*)?",
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
_DATE = re.compile(_DATE_PATTERN)
_TIME = re.compile(_TIME_PATTERN)
_DATE_TIME = re.compile(FORMAT_PATTERNS["date-time"])
_DURATION = re.compile(FORMAT_PATTERNS["duration"])
_EMAIL = re.compile(_EMAIL_PATTERN)
_HOSTNAME = re.compile(_HOSTNAME_PATTERN)
_UUID = re.compile(FORMAT_PATTERNS["uuid"])
_URI = re.compile(FORMAT_PATTERNS["uri"])


def _is_date(text: str) -> bool:
    if not _DATE.fullmatch(text):
        return False
    date.fromisoformat(text)
    return True


def _is_date_time(text: str) -> bool:
    if not _DATE_TIME.fullmatch(text):
        return False
    date.fromisoformat(text[:10])
    return True


def _is_uri(text: str) -> bool:
    return bool(_URI.fullmatch(text)) and bool(urlsplit(text).scheme)


def _matches(pattern: re.Pattern[str], max_length: int = 10_000) -> Callable[[str], bool]:
    return lambda text: len(text) <= max_length and pattern.fullmatch(text) is not None


FORMATS: dict[str, Callable[[str], bool]] = {
    "date": _is_date,
    "time": _matches(_TIME, 100),
    "date-time": _is_date_time,
    "duration": _matches(_DURATION, 100),
    "email": _matches(_EMAIL, 254),
    "hostname": _matches(_HOSTNAME, 253),
    "ipv4": lambda text: bool(ipaddress.IPv4Address(text)) or True,
    "ipv6": lambda text: "%" not in text and (bool(ipaddress.IPv6Address(text)) or True),
    "uri": _is_uri,
    "uuid": _matches(_UUID),
}


def has_format(name: str, text: str) -> bool:
    """Whether ``text`` has one of ``FORMATS`` (RFC 3339 dates, e-mail, ...)."""
    try:
        return FORMATS[name](text)
    except ValueError:
        return False


def _fits(name: str, value: Any) -> bool:
    return not isinstance(value, str) or has_format(name, value)


def _checker() -> FormatChecker:
    checker = FormatChecker(formats=())
    for name in FORMATS:
        checker.checkers[name] = (partial(_fits, name), ())
    return checker


FORMAT_CHECKER = _checker()
