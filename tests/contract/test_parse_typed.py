"""Typed or selected text becomes the JSON value that the schema requires."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.values.kinds.values import format_value, parse_typed
from tests.contract.samples import INVOICE_SCHEMA, SEED_SCHEMA, field

DATE = {"type": "string", "format": "date"}
MONEY = {"type": "number", "x-slm": {"kind": "money", "locale": "en_US"}}
SROIE_DATE = {"type": "string", "x-slm": {"kind": "date", "date_order": "DMY"}}


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        (DATE, "Jan 14, 2026", "2026-01-14"),
        (DATE, "Date: 14 January 2026 8:00", "2026-01-14"),
        (DATE, "from 1 Jan 2026 to 2 Jan 2026", None),
        (DATE, "soon", None),
        (SROIE_DATE, "09/01/2019 ", "09/01/2019"),
        (MONEY, "1,248.50", Decimal("1248.50")),
        (MONEY, "USD 1,248.50", Decimal("1248.50")),
        (MONEY, "TOTAL AMOUNT: RM 31.00", Decimal("31.00")),
        (MONEY, "2 x 15.50", None),
        (MONEY, "abc", None),
        (MONEY, "12.50 incl. VAT", None),
        ({"type": "integer"}, "200 pce", None),
        ({"type": "integer"}, "200pce", None),
        ({"type": "number"}, "30 m", None),
        ({"type": "integer"}, "3x", 3),
        ({"type": "integer"}, "3 ×", 3),
        ({"type": "integer"}, "Net 30.", 30),
        ({"type": "integer"}, "3", 3),
        ({"type": "integer"}, "3.00", 3),
        ({"type": "integer"}, "3.5", None),
        ({"type": "number"}, "(20)", Decimal(-20)),
        ({"type": "number", "minimum": -5}, "(20)", Decimal(-20)),
        ({"type": "integer", "minimum": 0}, "(20)", 20),
        ({"type": "integer", "exclusiveMinimum": 0}, "LED panel (20)", 20),
        ({"type": "integer", "minimum": 0}, "(-20)", -20),
        ({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, "(20)", 20),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "off", False),
        ({"type": "boolean"}, "maybe", None),
        ({"type": "string"}, "Acme\n  Supplies ", "Acme Supplies"),
        ({"type": "string", "x-slm": {"kind": "free"}}, "two\r\nlines", "two\nlines"),
        ({"type": "string"}, "  ", None),
        ({"type": "string"}, "n/a", "n/a"),
        ({"type": ["string", "null"]}, "n/a", None),
        ({"type": ["number", "null"], "x-slm": {"kind": "money"}}, "-", None),
        ({"enum": ["Refund", "Order status"]}, "order STATUS", "Order status"),
        ({"enum": ["Refund", "refund"]}, "refund", "refund"),
        ({"enum": ["a", "b"]}, "c", None),
        ({"enum": [1, 2]}, "2", 2),
        ({"type": "array"}, '[1, "x"]', [1, "x"]),
        ({}, "12.50", Decimal("12.50")),
        ({}, "hello", "hello"),
    ],
)
def test_typed(schema: dict[str, Any], text: str, value: Any) -> None:
    result = parse_typed(text, field(schema))
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("schema", "value", "shown"),
    [
        (DATE, "2026-01-14", "Jan 14, 2026"),
        ({**DATE, "x-slm": {"locale": "de_DE"}}, "2026-01-14", "14.01.2026"),
        (DATE, "soon", "soon"),
        (MONEY, Decimal("1248.5"), "1,248.50"),
        (MONEY, Decimal("-1248.505"), "-1,248.505"),
        ({"type": "number", "x-slm": {"kind": "money", "locale": "de_DE", "currency": "EUR"}}, 1248, "EUR 1.248,00"),
        ({"type": "number"}, Decimal("1248.50"), "1,248.5"),
        (
            {"type": "number"},
            Decimal("9" * 40 + ".123456789012345678"),
            ",".join(["9"] + ["999"] * 13) + ".123456789012345678",
        ),
        ({"type": "integer"}, 1248, "1248"),
        ({"type": "boolean"}, True, "yes"),
        ({"type": "string"}, "x", "x"),
        ({"type": "string"}, None, "–"),
        ({"type": "array"}, [1], "[1]"),
    ],
)
def test_shown(schema: dict[str, Any], value: Any, shown: str) -> None:
    assert format_value(value, field(schema)) == shown


@given(st.text(max_size=40) | st.text("0123456789.,/- JanUSD()", max_size=40))
def test_parsed_values_are_valid_or_none(text: str) -> None:
    compiled = compile_schema(SEED_SCHEMA)
    for leaf in compiled.fields:
        value = parse_typed(text, leaf)
        problems = compiled.validate({leaf.name: value}) if value is not None else []
        assert not [problem for problem in problems if problem.path == leaf.name and problem.rule in ("type", "format")]


@given(st.dates(), st.decimals(-(10**9), 10**9, places=2))
def test_displayed_values_can_be_typed(day: Any, amount: Decimal) -> None:
    leaves = compile_schema(SEED_SCHEMA).by_pattern
    if day.year >= 1800 and day.year < 2200:
        assert parse_typed(format_value(day.isoformat(), leaves["date"]), leaves["date"]) == day.isoformat()
    assert parse_typed(format_value(amount, leaves["total_amount"]), leaves["total_amount"]) == amount


def test_every_field_of_an_invoice_takes_any_text() -> None:
    for leaf in compile_schema(INVOICE_SCHEMA).fields:
        for text in ("", "x" * 10_000, "1" * 10_000, "(" * 5_000, "\u202e1,2", "1/1/1" * 3_000):
            parse_typed(text, leaf)
