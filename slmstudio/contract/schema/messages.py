"""Messages about invalid values, in sentences that a person without knowledge of JSON Schema understands."""

from typing import Any

from slmstudio.contract.json_text import dumps

_MAX_LENGTH = 60

_TYPES = {
    "string": "a string",
    "number": "a number, e.g. 12.50",
    "integer": "a whole number, e.g. 3",
    "boolean": "true or false",
    "object": "an object with fields, { ... }",
    "array": "a list, [ ... ]",
    "null": "null",
}
_FORMATS = {
    "date": "a date written as YYYY-MM-DD",
    "time": "a time, e.g. 08:30:00 or 08:30:00Z",
    "date-time": "a date and time, e.g. 2026-01-14T08:30:00 or 2026-01-14T08:30:00Z",
    "duration": "a duration, e.g. P30D or PT1.5S",
    "email": "an email address, e.g. name@example.com",
    "hostname": "a host name, e.g. www.example.com",
    "ipv4": "an IPv4 address, e.g. 192.0.2.1",
    "ipv6": "an IPv6 address, e.g. 2001:db8::1",
    "uri": "a URL, e.g. https://example.com",
    "uuid": "a UUID, e.g. 123e4567-e89b-12d3-a456-426614174000",
}


def shorten(text: str, max_length: int = _MAX_LENGTH) -> str:
    """A text cut for a message, with an ellipsis if something is cut."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def show(value: Any) -> str:
    """A value as written in a sentence: 'abc', 12.50, null."""
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return shorten(dumps(value))


def found(value: Any) -> str:
    """The actual value with its type: the text 'abc', the number 12."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the string {show(value)}" if value else "an empty string"
    if isinstance(value, dict | list):
        return show(value)
    return f"the number {show(value)}"


def _count(number: Any, noun: str) -> str:
    plural = {"entry": "entries"}.get(noun, noun + "s")
    return f"{number} {noun if number == 1 else plural}"


def _type(expected: Any, value: Any) -> str:
    names = [expected] if isinstance(expected, str) else list(expected)
    wanted = " or ".join(_TYPES[name] for name in names)
    return f"must be {wanted}; found {found(value)}"


def _enum(allowed: list[Any], value: Any) -> str:
    options = ", ".join(item if isinstance(item, str) else show(item) for item in allowed[:20])
    more = f" and {len(allowed) - 20} more" if len(allowed) > 20 else ""
    return f"must be one of: {options}{more}; found {show(value)}"


def _length(limit: int, value: str, fewest: bool) -> str:
    if fewest and not value:
        return "must not be empty"
    bound = "at least" if fewest else "at most"
    return f"must have {bound} {_count(limit, 'character')}; it has {len(value)}"


def _items(limit: int, value: list[Any], fewest: bool) -> str:
    bound = "at least" if fewest else "at most"
    return f"must have {bound} {_count(limit, 'entry')}; it has {len(value)}"


def _multiple(step: Any, value: Any) -> str:
    text = dumps(step)
    if text == "1":
        return f"must be a whole number; found {show(value)}"
    if text.strip("0.") == "1" and text.startswith("0."):
        return f"must have at most {_count(len(text.rstrip('0')) - 2, 'decimal place')}; found {show(value)}"
    return f"must be a multiple of {text}; found {show(value)}"


def sentence(rule: str, expected: Any, value: Any, schema: dict[str, Any]) -> str:
    """The sentence for a violated rule. ``expected`` is its value in the schema, ``value`` the actual value."""
    match rule:
        case "type":
            if schema.get("format") in _FORMATS and value is not None and expected == "string":
                return f"must be {_FORMATS[schema['format']]}; found {found(value)}"
            return _type(expected, value)
        case "required":
            return "is required"
        case "additionalProperties":
            return "is not a field of this schema"
        case "format":
            return f"must be {_FORMATS.get(expected, expected)}; found {show(value)}"
        case "enum":
            return _enum(expected, value)
        case "const":
            return f"must be {show(expected)}; found {show(value)}"
        case "pattern":
            return f"must match the pattern {shorten(expected)}; found {show(value)}"
        case "minLength" | "maxLength":
            return _length(expected, value, rule == "minLength")
        case "minItems" | "maxItems":
            return _items(expected, value, rule == "minItems")
        case "minProperties" | "maxProperties":
            bound = "at least" if rule == "minProperties" else "at most"
            return f"must have {bound} {_count(expected, 'field')}; it has {len(value)}"
        case "multipleOf":
            return _multiple(expected, value)
    return _rarer(rule, expected, value)


def _name_rule(names: Any, name: Any) -> str:
    """The sentence for a name that ``propertyNames`` does not allow."""
    if isinstance(names, dict) and "enum" in names:
        return f"the name {_enum(names['enum'], name)}"
    if isinstance(names, dict) and "pattern" in names:
        return f"the name must match the pattern {shorten(names['pattern'])}; found {show(name)}"
    return f"the name {show(name)} is not allowed here"


def _rarer(rule: str, expected: Any, value: Any) -> str:
    if rule == "propertyNames":
        return _name_rule(expected, value)
    bounds = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "more than",
        "exclusiveMaximum": "less than",
    }
    if rule in bounds:
        return f"must be {bounds[rule]} {show(expected)}; found {show(value)}"
    fixed = {
        "uniqueItems": "must not contain the same entry twice",
        "contains": "must contain at least one entry that matches the schema of 'contains'",
        "minContains": "contains too few entries that match the schema of 'contains'",
        "maxContains": "contains too many entries that match the schema of 'contains'",
        "anyOf": f"matches none of the alternatives that the schema allows here; found {found(value)}",
        "oneOf": f"must match exactly one of the alternatives that the schema allows here; found {found(value)}",
        "not": f"matches a schema that is not allowed here; found {found(value)}",
        "dependentRequired": "lacks a field that another field requires",
        "unevaluatedProperties": "has a field that is not in the schema",
        "unevaluatedItems": "has an entry that the schema does not allow here",
        "False": "is not allowed here",
    }
    return fixed.get(rule, f"violates the rule '{rule}' of the schema")
