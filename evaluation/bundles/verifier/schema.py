"""Validation of a JSON value by a JSON Schema (draft 2020-12), for the keywords that contracts use."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

Schema = Any

_DATE = r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d"
_TIME = rf"{_CLOCK}:(?:[0-5]\d|60)(?:\.\d+)?(?:[Zz]|[+-]{_CLOCK})?"
_TIMED = r"T(?:\d+H(?:\d+M)?(?:\d+(?:\.\d+)?S)?|\d+M(?:\d+(?:\.\d+)?S)?|\d+(?:\.\d+)?S)"
_DAYS = r"(?:\d+Y(?:\d+M)?(?:\d+D)?|\d+M(?:\d+D)?|\d+D)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PATTERNS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}[Tt ]{_TIME}",
    "duration": rf"-?P(?:\d+W|{_DAYS}(?:{_TIMED})?|{_TIMED})",
    "email": rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})+",
    "hostname": rf"{_LABEL}(?:\.{_LABEL})*",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~!$&'()*+,;=:@/?\[\]-]|%[0-9A-Fa-f]{2})*(?:#\S*)?",
    "uuid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
_ADDRESSES: dict[str, Callable[[str], Any]] = {"ipv4": ipaddress.IPv4Address, "ipv6": ipaddress.IPv6Address}
#: keywords that say nothing about a value, or that another keyword reads
_IGNORED = frozenset(
    {
        *("$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "deprecated"),
        *("readOnly", "writeOnly", "examples", "contentEncoding", "contentMediaType", "x-slm", "then", "else"),
        *("minContains", "maxContains", "markdownDescription", "enumDescriptions", "markdownEnumDescriptions"),
        *("enumNames", "defaultSnippets", "deprecationMessage", "doNotSuggest", "errorMessage", "discriminator"),
        *("patternErrorMessage", "fileMatch", "tsType"),
    }
)


class Unknown(Exception):
    """A schema that this validator does not understand completely; the message names the keyword."""


def key(value: Any) -> Any:
    """A hashable that is equal for values that JSON Schema calls equal: 1 is 1.0 and not true."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, dict):
        return ("object", frozenset((name, key(item)) for name, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(key(item) for item in value))
    return value


def is_valid(value: Any, schema: Schema, root: Schema) -> bool:
    """Whether a value is valid.

    Raises:
        Unknown: the schema has a keyword that is not checked here.
    """
    if isinstance(schema, bool):
        return schema
    return all(_check(keyword, wanted, value, schema, root) for keyword, wanted in schema.items())


def _check(keyword: str, wanted: Any, value: Any, schema: dict[str, Any], root: Schema) -> bool:
    if keyword in _IGNORED:
        return True
    if keyword in _SCALARS:
        return _SCALARS[keyword](wanted, value)
    if keyword in _PARTS:
        return _PARTS[keyword](wanted, value, schema, root)
    raise Unknown(keyword)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_whole,
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


def _has_type(wanted: Any, value: Any) -> bool:
    return any(_TYPES[name](value) for name in ([wanted] if isinstance(wanted, str) else wanted))


def _has_format(name: str, value: Any) -> bool:
    if not isinstance(value, str) or name not in (*_PATTERNS, *_ADDRESSES):
        return True
    try:
        if name in _ADDRESSES:
            return "%" not in value and bool(_ADDRESSES[name](value) or True)
        if not re.fullmatch(_PATTERNS[name], value, re.ASCII):
            return False
        return name not in ("date", "date-time") or bool(date.fromisoformat(value[:10]))
    except ValueError:
        return False


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error as error:
        raise Unknown(f"pattern {pattern!r}") from error


def _of(kind: type, check: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A check that concerns values of one type only."""
    return lambda wanted, value: not isinstance(value, kind) or check(wanted, value)


def _number(check: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda wanted, value: not _is_number(value) or check(wanted, value)


_SCALARS: dict[str, Callable[[Any, Any], bool]] = {
    "type": _has_type,
    "enum": lambda wanted, value: key(value) in [key(item) for item in wanted],
    "const": lambda wanted, value: key(value) == key(wanted),
    "format": _has_format,
    "pattern": _of(str, lambda wanted, value: _matches(wanted, value)),
    "minLength": _of(str, lambda wanted, value: len(value) >= wanted),
    "maxLength": _of(str, lambda wanted, value: len(value) <= wanted),
    "minItems": _of(list, lambda wanted, value: len(value) >= wanted),
    "maxItems": _of(list, lambda wanted, value: len(value) <= wanted),
    "uniqueItems": _of(list, lambda wanted, value: not wanted or len({key(item) for item in value}) == len(value)),
    "minProperties": _of(dict, lambda wanted, value: len(value) >= wanted),
    "maxProperties": _of(dict, lambda wanted, value: len(value) <= wanted),
    "required": _of(dict, lambda wanted, value: all(name in value for name in wanted)),
    "dependentRequired": _of(
        dict, lambda wanted, value: all(set(names) <= set(value) for name, names in wanted.items() if name in value)
    ),
    "minimum": _number(lambda wanted, value: value >= wanted),
    "maximum": _number(lambda wanted, value: value <= wanted),
    "exclusiveMinimum": _number(lambda wanted, value: value > wanted),
    "exclusiveMaximum": _number(lambda wanted, value: value < wanted),
    "multipleOf": _number(lambda wanted, value: Decimal(value) % Decimal(wanted) == 0),
}


def _reference(wanted: str, value: Any, schema: Schema, root: Schema) -> bool:
    if not wanted.startswith("#"):
        raise Unknown(f"$ref {wanted}")
    return is_valid(value, _resolve(wanted, root), root)


def _resolve(reference: str, root: Schema) -> Schema:
    """The schema that a local reference names."""
    target = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if part:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if isinstance(target, list) else target[name]
    return target


def _others(value: dict[str, Any], schema: dict[str, Any]) -> Iterator[Any]:
    """The values of an object whose names neither ``properties`` nor ``patternProperties`` has."""
    patterns = schema.get("patternProperties", {})
    for name, item in value.items():
        if name not in schema.get("properties", {}) and not any(_matches(one, name) for one in patterns):
            yield item


def _contains(wanted: Schema, value: Any, schema: Schema, root: Schema) -> bool:
    if not isinstance(value, list):
        return True
    count = sum(is_valid(item, wanted, root) for item in value)
    return bool(schema.get("minContains", 1) <= count <= schema.get("maxContains", len(value)))


def _items(wanted: Schema, value: Any, schema: Schema, root: Schema) -> bool:
    rest = value[len(schema.get("prefixItems", ())) :] if isinstance(value, list) else ()
    return all(is_valid(item, wanted, root) for item in rest)


def _if(wanted: Schema, value: Any, schema: Schema, root: Schema) -> bool:
    return is_valid(value, schema.get("then" if is_valid(value, wanted, root) else "else", True), root)


def _members(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_PARTS: dict[str, Callable[[Any, Any, Any, Any], bool]] = {
    "$ref": _reference,
    "properties": lambda wanted, value, schema, root: all(
        is_valid(item, wanted[name], root) for name, item in _members(value).items() if name in wanted
    ),
    "patternProperties": lambda wanted, value, schema, root: all(
        is_valid(item, one, root)
        for pattern, one in wanted.items()
        for name, item in _members(value).items()
        if _matches(pattern, name)
    ),
    "additionalProperties": lambda wanted, value, schema, root: all(
        is_valid(item, wanted, root) for item in _others(_members(value), schema)
    ),
    "propertyNames": lambda wanted, value, schema, root: all(is_valid(name, wanted, root) for name in _members(value)),
    "dependentSchemas": lambda wanted, value, schema, root: all(
        is_valid(value, one, root) for name, one in wanted.items() if name in _members(value)
    ),
    "items": _items,
    "prefixItems": lambda wanted, value, schema, root: (
        not isinstance(value, list) or all(is_valid(item, one, root) for item, one in zip(value, wanted, strict=False))
    ),
    "contains": _contains,
    "allOf": lambda wanted, value, schema, root: all(is_valid(value, one, root) for one in wanted),
    "anyOf": lambda wanted, value, schema, root: any(is_valid(value, one, root) for one in wanted),
    "oneOf": lambda wanted, value, schema, root: sum(is_valid(value, one, root) for one in wanted) == 1,
    "not": lambda wanted, value, schema, root: not is_valid(value, wanted, root),
    "if": _if,
}
