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
