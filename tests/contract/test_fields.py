"""The fields of a schema, their order, and the defaults of x-slm."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from slmstudio.contract.schema.compiled import compile_schema, join, loads, pattern_of, split
from tests.contract.samples import (
    INVOICE_SCHEMA,
    SEED_GOLD,
    SEED_SCHEMA,
    SEED_TARGET,
    field,
    json_values,
    object_schema,
    single_field,
)


def test_leaves_in_schema_order() -> None:
    assert [item.pattern for item in compile_schema(INVOICE_SCHEMA).fields] == [
        "number",
        "issued",
        "due",
        "currency",
        "paid",
        "line_items[].name",
        "line_items[].quantity",
        "line_items[].amount",
        "tags[]",
        "total",
    ]


@pytest.mark.parametrize(
    ("schema", "type_", "kind", "evidence"),
    [
        ({"type": "string"}, "string", "text", "expected"),
        ({"type": "string", "format": "date"}, "string", "date", "expected"),
        ({"type": "string", "format": "email"}, "string", "exact", "expected"),
        ({"type": "number"}, "number", "number", "expected"),
        ({"type": "integer"}, "integer", "exact", "expected"),
        ({"type": "boolean"}, "boolean", "exact", "none"),
        ({"type": "string", "enum": ["a"]}, "string", "class", "none"),
        ({"enum": [1, 2]}, "integer", "class", "none"),
        ({"const": "x"}, "string", "exact", "none"),
        ({"type": "string", "x-slm": {"kind": "free"}}, "string", "free", "none"),
        ({"type": "number", "x-slm": {"kind": "money", "evidence": "required"}}, "number", "money", "required"),
        ({"type": "object"}, "object", "exact", "none"),
        ({"type": "array"}, "array", "exact", "none"),
        ({}, "any", "exact", "none"),
        ({"type": ["string", "number"]}, "any", "exact", "none"),
        ({"type": ["integer", "number"]}, "number", "number", "expected"),
    ],
)
def test_defaults(schema: dict[str, Any], type_: str, kind: str, evidence: str) -> None:
    leaf = field(schema)
    assert (leaf.type, leaf.kind, leaf.evidence) == (type_, kind, evidence)


def test_notations_of_nullable() -> None:
    for schema in (
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"type": "string"}]},
        {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]},
    ):
        leaf = single_field(schema, **{"$defs": {"t": {"type": "string"}}}).fields[0]
        assert (leaf.type, leaf.nullable) == ("string", True)
    # A choice is nullable only where null is among its values.
    assert (field({"enum": ["a", None]}).nullable, field({"enum": ["a", None]}).enum) == (True, ("a",))
    assert not field({"type": ["string", "null"], "enum": ["a"]}).nullable
    assert field({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}).nullable


def test_references_and_all_of_are_followed() -> None:
    schema = object_schema(
        {"a": {"$ref": "#/$defs/address"}, "b": {"allOf": [{"$ref": "#/$defs/address"}], "title": "Billing"}},
        **{"$defs": {"address": object_schema({"city": {"type": "string"}}, required=["city"])}},
    )
    assert [(leaf.pattern, leaf.required) for leaf in compile_schema(schema).fields] == [
        ("a.city", True),
        ("b.city", True),
    ]


def test_options_reach_the_field() -> None:
    options = {"kind": "date", "date_order": "MDY", "locale": "de_DE", "cost": 2.5, "hint": "as printed"}
    leaf = field({"type": "string", "title": "Day", "description": "of issue", "x-slm": options})
    assert (leaf.title, leaf.description, leaf.kind) == ("Day", "of issue", "date")
    assert (leaf.date_order, leaf.locale, leaf.cost, leaf.hint) == ("MDY", "de_DE", 2.5, "as printed")
    schema = object_schema({"total_amount": {}, "invoiceNumber": {}, "GST-id": {}})
    assert [leaf.title for leaf in compile_schema(schema).fields] == ["Total amount", "Invoice number", "GST id"]


def test_paths_round_trip_even_with_odd_names() -> None:
    path = ""
    steps = ("a", 3, "x.y", 'q"[]', "tür", 0)
    for step in steps:
        path = join(path, step)
    assert path == 'a[3]["x.y"]["q\\"[]"].tür[0]'
    assert split(path) == steps
    assert pattern_of("rows[12].cells[0].v") == "rows[].cells[].v"


# -- one value has one canonical text: schema order, no white space, unchanged digits --


def test_the_seed_example() -> None:
    turned = dict(reversed(SEED_GOLD.items()))
    assert compile_schema(SEED_SCHEMA).canonical(turned) == SEED_TARGET


def test_rows_are_ordered_too_and_unknown_names_come_last() -> None:
    compiled = compile_schema(INVOICE_SCHEMA)
    value = {"zz": 1, "total": 3, "line_items": [{"amount": Decimal("3.0"), "name": "x"}], "number": "7"}
    assert list(compiled.ordered(value)) == ["number", "line_items", "total", "zz"]
    assert compiled.canonical(value) == (
        '{"number":"7","issued":null,"due":null,"currency":null,"line_items":[{"name":"x","amount":3.0}],"total":3,"zz":1}'
    )


def test_missing_and_null_are_the_same_absence() -> None:
    compiled = compile_schema(object_schema({"a": {"type": ["string", "null"]}, "b": {"type": "string"}, "c": {}}))
    assert compiled.canonical({"b": None}) == compiled.canonical({"a": None}) == '{"a":null}'
    required = compile_schema(object_schema({"a": {"type": "string"}}, required=["a"]))
    assert required.canonical({"a": None}) == '{"a":null}', "an invalid null stays"
    dependent = object_schema({"a": {"type": ["string", "null"]}, "b": {}}, dependentRequired={"a": ["b"]})
    assert compile_schema(dependent).canonical({}) == "{}"


@given(json_values)
def test_any_json_value_has_a_text(value: Any) -> None:
    again = loads(compile_schema(INVOICE_SCHEMA).canonical(value))
    assert type(again) is type(value) or again == value  # 0.000 is written as 0
