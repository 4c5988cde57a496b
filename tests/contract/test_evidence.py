"""A value is found in a document by its meaning, and only if it is there."""

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slmstudio.contract.schema.compiled import compile_schema
from slmstudio.contract.values.evidence import find, is_present
from tests.contract.samples import SEED_GOLD, SEED_SCHEMA, SEED_TEXT, field, texts

DATE = {"type": "string", "format": "date"}
TEXT = {"type": "string"}
MONEY = {"type": "number", "x-slm": {"kind": "money", "locale": "en_US"}}
NUMBER = {"type": "number"}


def test_the_seed_example() -> None:
    texts_by_field = {
        leaf.name: [span.text for span in find(SEED_GOLD[leaf.name], leaf, SEED_TEXT)] for leaf in SEED.fields
    }
    assert texts_by_field == {
        "invoice_id": ["A-1029"],
        "date": ["Jan 14, 2026"],
        "vendor": ["Acme Supplies"],
        "total_amount": ["USD 1,248.50"],
    }


SEED = compile_schema(SEED_SCHEMA)


@pytest.mark.parametrize(
    ("schema", "value", "text", "expected"),
    [
        (TEXT, "Acme Supplies", "at Acme\n  Supplies, Acme Supplies", ["Acme Supplies"]),
        (TEXT, "Acme Supplies", "at ACME\n SUPPLIES.", ["ACME\n SUPPLIES"]),
        (TEXT, "A.B.C. Sdn Bhd", "ABC SDN. BHD", ["ABC SDN. BHD"]),
        (TEXT, "Acme", "Acmeville", []),
        (TEXT, "INV-100", "1NV-1OO", ["1NV-1OO"]),
        (TEXT, "10", "IO", []),
        (TEXT, "12", "1.2 and 3,12", []),
        (TEXT, "Straße 5", "STRASSE 5", ["STRASSE 5"]),
        (TEXT, "€", "5 €", ["€"]),
        (TEXT, "", "x", []),
        (TEXT, "a", "a b a", ["a", "a"]),
        (
            TEXT,
            "NO 3, JALAN RIA 5, 81100 JOHOR",
            "NO 3\nTel 07-1\nJALAN RIA 5\nFax 2\n81100 JOHOR",
            ["NO 3", "JALAN RIA 5", "81100 JOHOR"],
        ),
        (TEXT, "JOHOR NO 5 RIA", "NO 3\nJALAN RIA 5\n81100 JOHOR", []),
        (DATE, "2026-01-14", "on 14/01/2026, 14 Jan 2026 or 2026-01-15", ["14/01/2026", "14 Jan 2026"]),
        (DATE, "2026-02-01", "01/02/2026", ["01/02/2026"]),
        (DATE, "2026-01-02", "01/02/2026", ["01/02/2026"]),
        ({**DATE, "x-slm": {"date_order": "DMY"}}, "2026-01-02", "01/02/2026", []),
        ({**TEXT, "x-slm": {"kind": "date"}}, "9 Jan 2019", "09-01-2019", ["09-01-2019"]),
        (MONEY, Decimal("1248.5"), "1,248.50 and 1248.50", ["1,248.50", "1248.50"]),
        (MONEY, Decimal("1248"), "1.248", []),
        (NUMBER, Decimal("1248"), "1.248", ["1.248"]),
        (MONEY, Decimal("-12.50"), "(12.50) 12.50", ["(12.50)"]),
        (MONEY, Decimal("12.50"), "12.50-", ["12.50"]),
        (MONEY, Decimal("12.50"), "-$ 12.50", ["$ 12.50"]),
        (MONEY, Decimal("1234.50"), "Balance (USD 1,234.50) due", ["USD 1,234.50"]),
        (MONEY, Decimal("-1234.50"), "Balance (USD 1,234.50) due", ["(USD 1,234.50)"]),
        ({"type": "integer"}, 20, "2 items: napkins (20), LED panel (120)", ["20"]),
        ({"type": "integer"}, -20, "2 items: napkins (20), LED panel (120)", ["(20)"]),
        ({"type": "integer"}, 20, "napkins ( 20 )", ["20"]),
        ({"type": "integer"}, 2, "2 items: napkins (2)", ["2"]),
        ({"type": "integer", "minimum": 0}, 2, "2 items: napkins (2)", ["2", "2"]),
        ({"type": "integer"}, 120, "120 LED panels, LED 120, LED-120, (120 LED)", ["120", "120", "120", "120"]),
        (MONEY, 120, "120 EUR, RM120, CHF 120", ["120 EUR", "RM120", "CHF 120"]),
        (MONEY, Decimal("12.50"), "l2.5O", ["l2.5O"]),
        (MONEY, Decimal("12.50"), "112.50 12.505", []),
        (MONEY, 0, "0.00", ["0.00"]),
        ({"type": "integer"}, 3, "3 pcs of A3", ["3"]),
        ({"type": "integer"}, 40, "Goods:\n- 40 ram of paper\n - 12 pens", ["40"]),
        ({"type": "integer"}, 12, "Goods:\n- 40 ram of paper\n - 12 pens", ["12"]),
        ({"type": "integer"}, -12, "Credit\n- 12\n- 12 EUR", ["- 12", "- 12 EUR"]),
        ({"type": "integer"}, -12, "- 12 degrees", ["- 12"]),
        ({"type": "integer"}, 25, "Hex bolt M8 25 pcs", ["25"]),
        ({"type": "integer"}, 8, "Hex bolt M8 25 pcs", []),
        ({"type": "integer"}, 120, "Ramette A4 120 ram", ["120"]),
        ({"type": "integer"}, 625, "Typ 550 625 Sack", ["625"]),
        ({"type": "integer"}, 550_625, "Typ 550 625 Sack", ["550 625"]),
        ({"type": "integer"}, 625, "625 or 550 625", ["625"]),
        ({**TEXT, "x-slm": {"kind": "money"}}, "RM 31.00", "TOTAL 31.00", ["31.00"]),
        ({"type": "boolean"}, True, "true", []),
        (TEXT, None, "null", []),
        (TEXT, "367.10", "NET TOTAL RM367.10", ["367.10"]),
        (TEXT, "12.50", "12.50KG", ["12.50"]),
        (TEXT, "12.50", "ABCD12.50 12.50KILO 112.50 12.501 12.50.1 3,12.50", []),
        (TEXT, "10", "RM10", []),
    ],
)
def test_found(schema: dict[str, Any], value: Any, text: str, expected: list[str]) -> None:
    spans = find(value, field(schema), text)
    assert [span.text for span in spans] == expected
    assert all(text[span.start : span.end] == span.text for span in spans)
    assert is_present(value, field(schema), text) == bool(expected)


@given(texts, texts, texts)
def test_a_text_between_spaces_is_found(before: str, value: str, after: str) -> None:
    spans = find(value, field(TEXT), f"{before} {value} {after}")
    assert spans or not value.strip()


@given(st.text(max_size=60), st.text(max_size=60) | st.text("0123456789.,-/OIl ", max_size=60))
def test_spans_are_in_the_document(value: str, text: str) -> None:
    for schema in (TEXT, DATE, {**TEXT, "x-slm": {"kind": "money"}}, {**TEXT, "x-slm": {"kind": "address"}}):
        for span in find(value, field(schema), text):
            assert text[span.start : span.end] == span.text != ""


@pytest.mark.slow
def test_large_documents_take_bounded_time() -> None:
    text = "l1O0 12.50 01/02/2026 aaaa " * 40_000
    start = time.process_time()
    assert len(find("aaaa", field(TEXT), text)) == 50
    assert not is_present("2020-01-01", field(DATE), text)
    assert not is_present(Decimal("99.99"), field(MONEY), text)
    assert not is_present("nowhere to be found at all", field(TEXT), text)
    assert time.process_time() - start < 15
