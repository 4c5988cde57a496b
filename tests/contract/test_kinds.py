"""Equality of values by field kind."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from slmstudio.contract.values.kinds.registry import KINDS, kinds_for
from slmstudio.contract.values.kinds.values import normalize
from tests.contract.samples import INVOICE_SCHEMA, anything, compile_schema, field, json_values


def _text(**options: Any) -> dict[str, Any]:
    return {"type": "string", "x-slm": options}


SAME = [
    (_text(), "Acme  Supplies", "Acme\nSupplies "),
    (_text(), "Café", "Cafe\u0301"),
    (_text(), "Acme", "Ac\u200bme"),
    (_text(ignore=["case"]), "ACME", "acme"),
    (_text(ignore=["punctuation"]), "Acme, Inc.", "Acme Inc"),
    (_text(kind="class"), "refund ", "refund"),
    (_text(kind="free"), "Hello,  World!", "hello world"),
    (_text(kind="address"), "No. 2, Jalan Ria 25/62", "NO 2 JALAN RIA 25 62"),
    (_text(kind="address"), "Ｎｏ．２", "no 2"),
    (_text(kind="identifier"), "a – 1029", "A-1029"),
    (_text(kind="date", date_order="DMY"), "09/01/2019", "9 Jan 2019"),
    ({"type": "string", "format": "date"}, "2026-01-14", "Jan 14, 2026"),
    (_text(kind="money", locale="en_US"), "RM 1,007.50", "1007.5"),
    (_text(kind="money"), "EUR 100.00", "€100"),
    (_text(kind="money"), "100.00 EUR", "100"),
    (_text(kind="money"), "$100", "USD 100.00"),
    (_text(kind="money"), "$100", "C$100"),
    (_text(kind="money", currency="EUR"), "100", "EUR 100.00"),
    ({"type": "number", "x-slm": {"kind": "money", "currency": "EUR"}}, 100, Decimal("100.00")),
    ({"type": "number"}, Decimal("12.50"), Decimal("12.5")),
    ({"type": "number"}, 12, Decimal("12.00")),
    ({"type": "integer"}, 3, Decimal("3.0")),
    ({"type": "object"}, {"a": 1, "b": 2}, {"b": 2, "a": Decimal("1.0")}),
    ({}, [1, "x"], [Decimal(1), "x"]),
]
DIFFERENT = [
    (_text(), "ACME", "acme"),
    (_text(), "Acme, Inc.", "Acme Inc"),
    (_text(ignore=["case"]), "a b", "a  b"),
    (_text(ignore=[]), "a b", "a  b"),
    (_text(kind="exact"), "a", "a "),
    (_text(kind="identifier"), "A1029", "A-1029"),
    (_text(kind="date", date_order="DMY"), "09/01/2019", "01/09/2019"),
    (_text(kind="date"), "soon", "2019-01-09"),
    (_text(kind="money"), "12.50", "12.05"),
    (_text(kind="money"), "EUR 100.00", "USD 100.00"),
    (_text(kind="money"), "€100", "$100"),
    (_text(kind="money"), "$100", "kr 100"),
    (_text(kind="money", currency="EUR"), "100", "USD 100.00"),
    (_text(), "12", 12),
    ({"type": "number"}, 1, True),
    ({"type": "boolean"}, True, 1),
    ({"type": "boolean"}, False, 0),
    ({}, 1, "1"),
    ({}, [1, 2], [2, 1]),
    (_text(), "", None),
]


@pytest.mark.parametrize(("schema", "left", "right"), SAME)
def test_the_same(schema: dict[str, Any], left: Any, right: Any) -> None:
    assert normalize(left, field(schema)) == normalize(right, field(schema))
    assert hash(normalize(left, field(schema))) == hash(normalize(right, field(schema)))


@pytest.mark.parametrize(("schema", "left", "right"), DIFFERENT)
def test_not_the_same(schema: dict[str, Any], left: Any, right: Any) -> None:
    assert normalize(left, field(schema)) != normalize(right, field(schema))


def test_empty_inputs() -> None:
    assert normalize(None, field({"type": "string"})) is None


def test_kinds_fit_types() -> None:
    assert kinds_for("boolean") == ("exact", "class")
    assert kinds_for("object") == ("exact",)
    assert set(kinds_for("integer")) == {"exact", "number", "money", "identifier", "class"}
    assert set(kinds_for("string")) == set(KINDS) - {"array"}
    assert kinds_for("any") == ("exact", "text", "free")


FIELDS = compile_schema(INVOICE_SCHEMA).fields


@given(json_values)
def test_every_value_has_a_hashable_meaning_that_is_stable(value: Any) -> None:
    for leaf in FIELDS:
        assert hash(normalize(value, leaf)) == hash(normalize(value, leaf))


@given(anything)
def test_no_value_breaks_it(value: Any) -> None:
    problems = compile_schema(INVOICE_SCHEMA).validate(value)
    if not any(problem.rule == "json" for problem in problems):
        for leaf in FIELDS:
            normalize(value, leaf)
