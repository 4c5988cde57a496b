"""What a person must look at in a pre-filled form, and what they need not."""

from decimal import Decimal
from typing import Any

import pytest

from labeling.form.attention import attention_reasons
from labeling.form.codec import Parsed
from labeling.form.validation import check
from slmstudio.contract.schema.compiled import CompiledSchema, compile_schema, loads

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "invoice_id": {"type": "string"},
        "date": {"type": "string", "format": "date"},
        "due_date": {"type": ["string", "null"], "format": "date"},
        "kind": {"enum": ["invoice", "receipt"]},
        "line_items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "amount": {"type": "number", "x-slm": {"kind": "money"}}},
                "required": ["name", "amount"],
            },
        },
        "total": {"type": "number", "x-slm": {"kind": "money"}},
        "buyer": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
    "required": ["invoice_id", "date", "line_items", "total"],
    "additionalProperties": False,
    "x-slm": {"invariants": ["sum(line_items[].amount) == total", "due_date >= date"]},
}
TEXT = "Invoice A-7 of 2026-01-14, due 2026-02-13\nWidget 20.00\nGadget 5.50\nTotal 25.50\nBuyer Smith"
GOOD = loads(
    '{"invoice_id":"A-7","date":"2026-01-14","due_date":"2026-02-13","kind":"invoice","line_items":'
    '[{"name":"Widget","amount":20.00},{"name":"Gadget","amount":5.50}],"total":25.50}'
)


@pytest.fixture(scope="module")
def compiled() -> CompiledSchema:
    return compile_schema(SCHEMA)


def reasons(compiled: CompiledSchema, value: Any, given: Any = None, **more: Any) -> dict[str, list[str]]:
    checks = check(compiled, Parsed(value), TEXT, given or {})
    options: dict[str, Any] = {"confidence": {}, "floor": 0.8, "predicted": value, **more}
    return attention_reasons(compiled, value, checks, **options)


def failing(of_fields: dict[str, list[str]]) -> dict[str, list[str]]:
    return {path: why for path, why in of_fields.items() if why}


def test_valid_value_needs_no_attention(compiled: CompiledSchema) -> None:
    of_fields = reasons(compiled, GOOD, confidence=dict.fromkeys(("invoice_id", "total", "line_items[1].amount"), 0.81))
    assert failing(of_fields) == {}
    assert list(of_fields) == [
        *("invoice_id", "date", "due_date", "kind", "line_items[0].name", "line_items[0].amount"),
        *("line_items[1].name", "line_items[1].amount", "total", "buyer.name"),
    ]


def test_value_without_evidence_needs_attention(compiled: CompiledSchema) -> None:
    value = {**GOOD, "invoice_id": "B-99", "kind": "receipt"}
    assert failing(reasons(compiled, value)) == {"invoice_id": ["is not in the document"]}, "a class is never copied"
    assert failing(reasons(compiled, value, {"invoice_id": {"confirmed": True, "of": '"B-99"'}})) == {}


def test_broken_invariant_marks_its_fields(compiled: CompiledSchema) -> None:
    marked = failing(reasons(compiled, {**GOOD, "total": Decimal("20.00")}))
    assert set(marked) == {"line_items[0].amount", "line_items[1].amount", "total"}
    assert marked["total"] == marked["line_items[0].amount"]
    assert "25.5" in marked["total"][0]
    dates = {**GOOD, "date": "2026-02-13", "due_date": "2026-01-14"}
    assert set(failing(reasons(compiled, dates))) == {"date", "due_date"}
    assert "line_items" in failing(reasons(compiled, {**GOOD, "line_items": []}))


def test_schema_problem_is_at_its_field(compiled: CompiledSchema) -> None:
    value = {**GOOD, "date": "Jan 14", "line_items": [{"name": "Widget", "amount": "x"}], "colour": "red"}
    of_fields = failing(reasons(compiled, value))
    assert {"date", "line_items[0].amount", "colour"} <= set(of_fields)
    assert list(of_fields)[-1] == "colour", "what the form has no field for comes last"


def test_empty_required_field_has_one_reason(compiled: CompiledSchema) -> None:
    value = {name: item for name, item in GOOD.items() if name != "invoice_id"}
    assert len(failing(reasons(compiled, value))["invoice_id"]) == 1
    assert failing(reasons(compiled, {**GOOD, "invoice_id": ""})) == {"invoice_id": ["is required and empty"]}
    assert reasons(compiled, GOOD)["buyer.name"] == [], "an absent optional group requires nothing"
    assert failing(reasons(compiled, {**GOOD, "buyer": {}})).keys() == {"buyer.name"}


def test_confidence_is_rounded_down(compiled: CompiledSchema) -> None:
    marked = failing(reasons(compiled, GOOD, confidence={"total": 0.7999, "date": 0.8, "due_date": 0.62}))
    assert marked == {"due_date": ["the model is 62% confident"], "total": ["the model is 79% confident"]}
    assert failing(reasons(compiled, GOOD, confidence={"total": 0.5}, floor=0.4)) == {}
    marked = failing(reasons(compiled, {**GOOD, "due_date": None}, confidence={"due_date": 0.5}))
    assert marked == {"due_date": ["the model is 50% confident that it is not in the document"]}


def test_confidence_ends_with_a_change(compiled: CompiledSchema) -> None:
    sure = {"total": 0.5, "line_items[0].amount": 0.5}
    changed = {**GOOD, "total": Decimal("25.5")}
    assert set(failing(reasons(compiled, GOOD, confidence=sure, predicted=GOOD))) == set(sure)
    assert set(failing(reasons(compiled, changed, confidence=sure, predicted=GOOD))) == {"line_items[0].amount"}
    fewer = {**GOOD, "line_items": []}
    assert "total" in failing(reasons(compiled, GOOD, confidence=sure, predicted=fewer))
    assert "line_items[0].amount" not in failing(reasons(compiled, GOOD, confidence=sure, predicted=fewer))


def test_errors_come_before_confidence(compiled: CompiledSchema) -> None:
    value = {**GOOD, "total": Decimal("31.00")}
    of_total = reasons(compiled, value, confidence={"total": 0.1})["total"]
    assert len(of_total) == 3
    assert of_total[-1] == "the model is 10% confident"


def test_any_json_value_is_accepted(compiled: CompiledSchema) -> None:
    values: list[Any] = [None, [], "text", {"line_items": "none"}, {"line_items": [None, 3]}, {"buyer": 3}]
    for value in values:
        assert failing(reasons(compiled, value, confidence={"total": 0.1}, predicted=value)), value
