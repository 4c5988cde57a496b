"""One value has one canonical text: schema order, no white space, unchanged digits, one notation of absence."""

from decimal import Decimal
from typing import Any

from hypothesis import given

from slmstudio.contract.schema.compiled import compile_schema, loads
from tests.contract.samples import (
    INVOICE_SCHEMA,
    SEED_GOLD,
    SEED_SCHEMA,
    SEED_TARGET,
    json_values,
    object_schema,
)


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
