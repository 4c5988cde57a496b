"""Metrics over many documents: rates, intervals, fields, classes."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from slmstudio.contract.schema.compiled import compile_schema, dumps
from slmstudio.contract.scoring.scorer import DocumentScore, class_scores, score_document, summarize, wilson
from slmstudio.contract.scoring.summary import anls
from tests.contract.samples import object_schema

SCHEMA = compile_schema(
    object_schema(
        {"name": {"type": ["string", "null"]}, "total": {"type": "number"}, "route": {"enum": ["a", "b", None]}}
    )
)
TEXT = "Bob owes 5 or 7"


def _score(gold: dict[str, Any], output: dict[str, Any] | str) -> DocumentScore:
    return score_document(SCHEMA, text=TEXT, gold=gold, raw=output if isinstance(output, str) else dumps(output))


SCORES = [
    _score({"name": "Bob", "total": 5, "route": "a"}, {"name": "Bob", "total": 5, "route": "a"}),
    _score({"name": None, "total": 5, "route": "a"}, {"total": 7, "route": "b"}),
    _score({"name": "Bob", "total": 5, "route": "b"}, {"name": "Eve", "total": 5}),
    _score({"name": None, "total": 5, "route": "b"}, {"name": "Bob", "total": 5, "route": "b"}),
    _score({"name": "Bob", "total": 5, "route": "b"}, "oops"),
]


@given(st.integers(1, 3000), st.data())
def test_the_interval_is_wilsons(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    wanted = binomtest(k, n).proportion_ci(0.95, method="wilson")
    interval = wilson(k, n)
    assert interval["rate"] == k / n
    assert interval["low"] == pytest.approx(wanted.low, abs=1e-12)
    assert interval["high"] == pytest.approx(wanted.high, abs=1e-12)


def test_an_empty_count_has_no_rate() -> None:
    assert wilson(0, 0) == {"k": 0, "n": 0, "rate": None, "low": None, "high": None}
    figures = summarize([])
    assert figures["documents"] == 0
    assert figures["field_exact"]["rate"] is None
    assert figures["micro"]["f1"] is None


def test_figures() -> None:
    figures = summarize(SCORES)
    assert figures["documents"] == 5
    assert (figures["valid_json"]["k"], figures["schema_valid"]["k"]) == (4, 4)
    assert (figures["document_exact"]["k"], figures["document_exact"]["n"]) == (1, 5)
    # 15 fields, one of them absent on both sides
    assert (figures["field_exact"]["k"], figures["field_exact"]["n"]) == (6, 14)
    assert figures["outcomes"] == {
        "correct": 6,
        "wrong": 2,
        "missing": 1,
        "extra": 1,
        "hallucinated": 1,
        "both_absent": 1,
        "unscorable": 3,
    }
    assert figures["errors"] == {"format": 3, "wrong_value": 2, "missing": 1, "extra": 1, "hallucinated": 1}
    # 10 values given, and 3 that the invalid output owes; 13 in gold
    assert figures["micro"] == {"precision": 6 / 13, "recall": 6 / 13, "f1": 6 / 13}
    assert figures["hallucinated"]["k"] == 1
    assert figures["invariants_hold"]["rate"] is None


def test_per_field_figures_are_in_schema_order() -> None:
    rows = summarize(SCORES)["per_field"]
    assert list(rows) == ["name", "total", "route"]
    assert (rows["name"]["k"], rows["name"]["n"]) == (1, 4)
    assert rows["name"]["outcomes"] == {"correct": 1, "both_absent": 1, "hallucinated": 1, "extra": 1, "unscorable": 1}
    assert (rows["total"]["k"], rows["total"]["n"]) == (3, 5)
    assert rows["total"]["errors"] == {"wrong_value": 1, "format": 1}


def test_classes() -> None:
    table = class_scores(SCHEMA, SCORES)["route"]
    assert table["matrix"] == {"a": {"a": 1, "b": 1}, "b": {"": 2, "b": 1}}
    assert table["classes"]["a"] == {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "n": 2}
    # of the two that say nothing one is an invalid output, which owes its class
    assert table["classes"]["b"] == {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3, "n": 3}
    assert table["macro"] == pytest.approx({"precision": 2 / 3, "recall": 5 / 12, "f1": 0.5})
    assert (table["decided"]["k"], table["decided"]["n"]) == (3, 5)
    assert (table["right"]["k"], table["right"]["n"]) == (2, 5)


def test_anls() -> None:
    assert anls("Acme", "ACME") == 1.0
    assert anls("abcd", "abcx") == 0.75
    assert anls("abcd", "xyzd") == 0.0
    assert summarize([_score({"name": "Bobby"}, {"name": "Bobbi"})])["anls"] == pytest.approx(0.8)


def test_decimals_and_integers_count_as_equal() -> None:
    assert summarize([_score({"total": 5}, {"total": Decimal("5.00")})])["field_exact"]["k"] == 1
