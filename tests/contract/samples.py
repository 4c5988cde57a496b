"""Schemas, documents and strategies shared by these tests."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema
from slmstudio.contract.schema.structure import Field

SEED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["invoice_id", "date", "vendor", "total_amount"],
    "properties": {
        "invoice_id": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "vendor": {"type": "string"},
        "total_amount": {"type": "number", "multipleOf": 0.01, "x-slm": {"kind": "money", "locale": "en_US"}},
    },
}
SEED_TEXT = (
    "...Thank you for your business. Invoice A-1029 issued on Jan 14, 2026. Payment terms: Net 30. Line items omitted "
    "for brevity. Total amount due USD 1,248.50. Vendor: Acme Supplies..."
)
SEED_GOLD: dict[str, Any] = {
    "invoice_id": "A-1029",
    "date": "2026-01-14",
    "vendor": "Acme Supplies",
    "total_amount": Decimal("1248.50"),
}
SEED_TARGET = '{"invoice_id":"A-1029","date":"2026-01-14","vendor":"Acme Supplies","total_amount":1248.50}'

INVOICE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["number", "line_items", "total"],
    "x-slm": {"invariants": ["sum(line_items[].amount) == total", "due >= issued"]},
    "properties": {
        "number": {"type": "string", "x-slm": {"kind": "identifier"}},
        "issued": {"type": ["string", "null"], "format": "date"},
        "due": {"type": ["string", "null"], "format": "date"},
        "currency": {"enum": ["EUR", "USD", None]},
        "paid": {"type": "boolean"},
        "line_items": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "amount"],
                "properties": {
                    "name": {"type": "string"},
                    "quantity": {"type": "integer"},
                    "amount": {"type": "number", "x-slm": {"kind": "money", "locale": "en_US"}},
                },
            },
        },
        "tags": {"type": "array", "items": {"type": "string"}},
        "total": {"type": "number", "x-slm": {"kind": "money", "locale": "en_US"}},
    },
}


def object_schema(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object schema with these properties."""
    return {"type": "object", "properties": properties, **more}


def single_field(schema: dict[str, Any], **more: Any) -> CompiledSchema:
    """A compiled schema with the single field ``a``."""
    return compile_schema(object_schema({"a": schema}, **more))


def field(schema: dict[str, Any]) -> Field:
    """The one leaf of a schema with the single field ``a``."""
    return single_field(schema).fields[0]


# What PostgreSQL and UTF-8 can hold: no NUL, no lone surrogates.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
numbers = st.integers(-(10**12), 10**12) | st.decimals(
    min_value=-(10**9), max_value=10**9, places=3, allow_nan=False, allow_infinity=False
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
# Anything Python might hand over, JSON or not.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=10,
)

_days = st.dates().map(lambda day: day.isoformat())


def _optional(pair: tuple[dict[str, Any], st.SearchStrategy[Any]]) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    schema, values = pair
    return {**schema, "type": [schema["type"], "null"]}, st.none() | values


_scalars: st.SearchStrategy[tuple[dict[str, Any], st.SearchStrategy[Any]]] = st.sampled_from(
    [
        ({"type": "string"}, texts),
        ({"type": "string", "maxLength": 8}, st.text("abc é", max_size=8)),
        ({"type": "string", "format": "date"}, _days),
        ({"type": "number"}, numbers),
        ({"type": "number", "multipleOf": 0.01}, st.decimals(0, 10**6, places=2)),
        ({"type": "integer"}, st.integers(-(10**9), 10**9)),
        ({"type": "boolean"}, st.booleans()),
    ]
)
_leaves = _scalars | _scalars.map(_optional) | st.just(({"enum": ["A", "B", None]}, st.sampled_from(["A", "B", None])))


def _object(parts: dict[str, Any]) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    schema: dict[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "required": list(parts)[::2],
        "properties": {name: part[0] for name, part in parts.items()},
    }
    values = {name: part[1] for name, part in parts.items()}
    wanted = {name: value for name, value in values.items() if name in schema["required"]}
    additional = {name: value for name, value in values.items() if name not in schema["required"]}
    return schema, st.fixed_dictionaries(wanted, optional=additional)


def _list(part: tuple[dict[str, Any], st.SearchStrategy[Any]]) -> tuple[dict[str, Any], st.SearchStrategy[Any]]:
    return {"type": "array", "items": part[0]}, st.lists(part[1], max_size=3)


_names = st.text("abcXYZ_9 .é", min_size=1, max_size=6)
_parts = st.recursive(
    _leaves,
    lambda inner: st.dictionaries(_names, inner, min_size=1, max_size=3).map(_object) | inner.map(_list),
    max_leaves=6,
)
_pairs = st.dictionaries(_names, _parts, min_size=1, max_size=5).map(_object)


@st.composite
def schemas_with_two_values(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A schema and two values that it accepts, at times the same."""
    schema, values = draw(_pairs)
    gold = draw(values)
    return schema, gold, draw(values | st.just(gold))
