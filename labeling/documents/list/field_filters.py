"""Filters by the value of a field: the typed value is parsed by the field kind, and becomes SQL on an annotation."""

from dataclasses import dataclass
from typing import Any

from slmstudio.contract.schema.compiled import CompiledSchema, Field, dumps, split
from slmstudio.contract.values.kinds.values import ambiguity, parse_typed

OPERATORS = {
    "is": "is",
    "contains": "contains",
    "more": "is more than",
    "less": "is less than",
    "empty": "is empty",
}
MAX_VALUE = 300
_NUMERIC = ("number", "integer")


class InvalidFilter(ValueError):
    """A field filter is invalid; the message names the field."""


@dataclass(frozen=True)
class FieldCondition:
    """A condition on a field, with its SQL on an annotation's value.

    ``predicate`` has ``{value}`` in place of the jsonb column. ``indexed``: the index on values answers it.
    """

    field: str
    op: str
    typed: str
    label: str
    predicate: str
    params: tuple[Any, ...]
    indexed: bool


def operators_for(field: Field) -> list[str]:
    """The operators of a field, in display order."""
    if field.type in _NUMERIC or field.format == "date":
        return ["is", "more", "less", "empty"]
    if field.enum or field.type == "boolean":
        return ["is", "empty"]
    return ["is", "contains", "empty"] if field.type in ("string", "any") else ["empty"]


def read_condition(compiled: CompiledSchema, pattern: str, op: str, typed: str) -> FieldCondition:
    """The condition as typed, for example ``("total_amount", "is", "1,248.50")``.

    Raises:
        InvalidFilter: no such field or operator, or a value that the field cannot hold.
    """
    field = compiled.by_pattern.get(pattern)
    if field is None:
        raise InvalidFilter(f"The schema has no field {pattern[:80]!r}; the filter was ignored.")
    op = op or "is"
    name = _name(field)
    if op not in OPERATORS:
        raise InvalidFilter(f"{name}: there is no operator {op[:40]!r}; the filter was ignored.")
    if op not in operators_for(field):
        raise InvalidFilter(f"{name} does not support {OPERATORS[op]!r}; the filter was ignored.")
    typed = " ".join(typed.replace("\x00", "").split())[:MAX_VALUE]
    if op == "empty":
        return _condition(field, op, "", *_empty(pattern), indexed=False)
    if not typed:
        raise InvalidFilter(f"{name} {OPERATORS[op]}: enter a value; the filter was ignored.")
    if op == "contains":
        return _condition(field, op, typed, *_contains(pattern, typed), indexed=False)
    value = parse_typed(typed, field)
    if value is None:
        if field.nullable and op == "is" and typed.casefold() in ("null", "none"):
            return _condition(field, "empty", "", *_empty(pattern), indexed=False)
        if unclear := ambiguity(typed, field):
            raise InvalidFilter(f"{name}: {unclear} The filter was ignored.")
        raise InvalidFilter(f"{name}: {typed!r} is not a valid {_expected(field)}; the filter was ignored.")
    if op == "is":
        return _condition(field, op, typed, "{value} @> %s::jsonb", (_nested(pattern, value),), indexed=True)
    sign = ">" if op == "more" else "<"
    return _condition(
        field, op, typed, "{value} @? %s::jsonpath", (f"{_path(pattern)} ? (@ {sign} {dumps(value)})",), indexed=False
    )


def _condition(
    field: Field, op: str, typed: str, predicate: str, params: tuple[Any, ...], *, indexed: bool
) -> FieldCondition:
    label = f"{_name(field)} {OPERATORS[op]}" + (f" {typed}" if typed else "")
    return FieldCondition(field.pattern, op, typed, label, predicate, params, indexed)


def _name(field: Field) -> str:
    return field.title if "[]" not in field.pattern else f"{field.title} ({field.pattern})"


def _expected(field: Field) -> str:
    if field.enum:
        return "choice of this field"
    return {"number": "number", "integer": "integer", "boolean": "boolean"}.get(
        field.type, "date" if field.format == "date" else "value"
    )


def _nested(pattern: str, value: Any) -> str:
    """The JSON that contains this value: ``{"line_items": [{"amount": 20}]}``."""
    for step in reversed(split(pattern)):
        value = [value] if step is None else {str(step): value}
    return dumps(value)


def _path(pattern: str) -> str:
    """The pattern as jsonpath, with names quoted as in JSON."""
    return "$" + "".join("[*]" if step is None else f".{dumps(str(step))}" for step in split(pattern))


def _contains(pattern: str, typed: str) -> tuple[str, tuple[Any, ...]]:
    steps = split(pattern)
    if None not in steps:
        return "upper({value} #>> %s::text[]) LIKE upper(%s)", ([str(step) for step in steps], f"%{like(typed)}%")
    return "{value} @? %s::jsonpath", (f'{_path(pattern)} ? (@ like_regex {dumps(typed)} flag "iq")',)


def _empty(pattern: str) -> tuple[str, tuple[Any, ...]]:
    return "NOT ({value} @? %s::jsonpath)", (f'{_path(pattern)} ? (@ != null && @ != "")',)


def like(text: str) -> str:
    """A text escaped for LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
