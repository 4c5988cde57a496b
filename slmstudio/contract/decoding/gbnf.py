"""The grammar of a schema in llama.cpp's own notation (GBNF), for runtimes without llguidance: browsers.

It is that of ``decoding.grammar``, compact JSON with properties in schema order, except for what GBNF cannot express:
bounds and steps of numbers, a pattern together with a length, patterns that are not regular, large counts, and objects
with fields that the schema does not name. There any value of the JSON type may be written, and the finished output is
validated.
"""

import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from slmstudio.contract.decoding.grammar import decoder_schema
from slmstudio.contract.decoding.schema import Place
from slmstudio.contract.json_text import dumps

#: repetitions of one element; llama.cpp refuses a grammar with more than 2,000
_MAX_COUNT = 1000
_RULES = {
    "char": r'[^"\\\x7F\x00-\x1F] | [\\] (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": 'integer ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "array": '"[" (value ("," value)*)? "]"',
    "object": r'"{" (string ":" value ("," string ":" value)*)? "}"',
    "value": "string | number | boolean | null | array | object",
}
_CLASSES = {
    "CATEGORY_DIGIT": "0-9",
    "CATEGORY_WORD": "0-9A-Za-z_",
    "CATEGORY_SPACE": " ",
}
#: characters that are escaped in a JSON string, and therefore in no class of a pattern
_ESCAPED = r"\"\\\x00-\x1F\x7F"


class _NotRegularError(ValueError):
    """A pattern that is not written as GBNF."""


def gbnf(schema: dict[str, Any]) -> str:
    """The grammar of a schema; its first rule is ``root``. Raises SchemaError if the schema is rejected."""
    simplified = decoder_schema(schema)
    rules = {"root": _expression({key: value for key, value in simplified.items() if key != "$defs"}), **_RULES}
    for name, place in simplified["$defs"].items():
        rules |= _object(name, place) if place["type"] == "object" else {name: _array(place)}
    return "".join(f"{name} ::= {expression}\n" for name, expression in rules.items())


def _expression(place: Place) -> str:
    if not place:
        return "value"
    if "$ref" in place:
        return str(place["$ref"]).rpartition("/")[2]
    if "anyOf" in place:
        return f"({' | '.join(map(_expression, place['anyOf']))})"
    if "enum" in place:
        return f"({' | '.join(_literal(dumps(value)) for value in place['enum'])})"
    return _text(place) if place["type"] == "string" else str(place["type"])


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _counted(low: int, high: int | None) -> str:
    return f"{{{min(low, _MAX_COUNT)},{high if high is not None and high <= _MAX_COUNT else ''}}}"


def _text(place: Place) -> str:
    low, high = place.get("minLength", 0), place.get("maxLength")
    if "pattern" in place and not low and high is None:
        try:
            return rf'"\"" {_pattern(place["pattern"])} "\""'
        except _NotRegularError:
            return "string"
    return rf'"\"" char{_counted(low, high)} "\""' if low or high is not None else "string"


def _array(place: Place) -> str:
    low, high = place.get("minItems", 0), place.get("maxItems")
    if "prefixItems" in place:
        return "array"
    if high == 0 or place["items"] is False:
        return '"[]"'
    item = _expression(place["items"])
    more = f'{item} ("," {item}){_counted(max(0, low - 1), None if high is None else high - 1)}'
    return f'"[" {more} "]"' if low else f'"[" ({more})? "]"'


def _object(name: str, place: Place) -> dict[str, str]:
    """The rules of an object: of the fields from each one on, where none is written yet, and where one is."""
    if place.get("additionalProperties", False) is not False or place.get("patternProperties"):
        return {name: "object"}
    rules = {name: rf'"{{" {name}-0 "}}"'}
    fields = list(place["properties"].items())
    for number, (field, inner) in enumerate(fields):
        this, after = f"{name}-{number}", f"{name}-{number + 1}"
        is_last = number + 1 == len(fields)
        rest, skipped = ('""', '""') if is_last else (f"{after}-more", after)
        is_required = field in place.get("required", ())
        rules[f"{this}-pair"] = f"{_literal(dumps(field) + ':')} {_expression(inner)} {rest}"
        rules[this] = f"{this}-pair" if is_required else f"{this}-pair | {skipped}"
        rules[f"{this}-more"] = f'"," {this}-pair' if is_required else f'"," {this}-pair | {rest}'
    return rules if fields else {name: '"{}"'}


# -- patterns ---------------------------------------------------------------------------------------------------------


def _pattern(pattern: str) -> str:
    """A regular expression as GBNF inside a JSON string. Raises _NotRegularError."""
    from re import _parser

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = list(_parser.parse(pattern, re.ASCII))
    except (re.error, OverflowError, RecursionError) as error:
        raise _NotRegularError(pattern) from error
    anchors = [str(value) for op, value in parsed if str(op) == "AT"]
    starts = bool(parsed) and str(parsed[0][1]) == "AT_BEGINNING"
    ends = bool(parsed) and str(parsed[-1][1]) == "AT_END"
    if len(anchors) != starts + ends:
        raise _NotRegularError(pattern)
    inner = _sequence(parsed[starts : len(parsed) - ends])
    return " ".join(part for part in ("" if starts else "char*", inner, "" if ends else "char*") if part)


def _sequence(parsed: Any) -> str:
    return " ".join(part for op, value in parsed for part in _element(str(op), value))


def _element(op: str, value: Any) -> Iterator[str]:
    match op:
        case "LITERAL":
            yield _literal(dumps(chr(value))[1:-1])
        case "ANY":
            yield "char"
        case "NOT_LITERAL":
            yield f"[^{_character(value)}{_ESCAPED}]"
        case "IN":
            yield _class(value)
        case "SUBPATTERN":
            yield f"({_sequence(value[-1])})"
        case "BRANCH":
            yield f"({' | '.join(_sequence(option) or _literal('') for option in value[1])})"
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, inner = value
            yield f"({_sequence(inner)}){_counted(int(low), None if str(high) == 'MAXREPEAT' else int(high))}"
        case _:
            raise _NotRegularError(op)


def _class(parts: Any) -> str:
    is_negated = str(parts[0][0]) == "NEGATE"
    inside = ""
    for op, value in parts[is_negated:]:
        match str(op):
            case "LITERAL":
                inside += _character(value, is_negated=is_negated)
            case "RANGE":
                low, high = value
                if not is_negated and any(low <= code <= high for code in (*range(32), 34, 92, 127)):
                    raise _NotRegularError("a range with characters that JSON escapes")
                inside += f"{_character(low, is_negated=True)}-{_character(high, is_negated=True)}"
            case "CATEGORY" if str(value) in _CLASSES:
                inside += _CLASSES[str(value)]
            case other:
                raise _NotRegularError(other)
    return f"[^{inside}{_ESCAPED}]" if is_negated else f"[{inside}]"


def _character(code: int, *, is_negated: bool = False) -> str:
    """A character of a class. Raises _NotRegularError for one that JSON escapes, which no class can contain."""
    if not is_negated and (code < 32 or code in (34, 92, 127)):
        raise _NotRegularError(chr(code))
    return f"\\U{code:08X}" if code > 0xFFFF else f"\\u{code:04X}" if code > 0xFF else f"\\x{code:02X}"
