"""Gold and outputs beside each other, and the small drawings of rates and bounds."""

from decimal import Decimal
from typing import Any

from evaluation.gates.display import bounds, in_unit, threshold
from evaluation.models import EvalRun
from evaluation.scores.display import confusion_matrices, highlighted, score_rows
from evaluation.templatetags.evaluation import (
    field_accuracy_rate,
    rate_only,
)


def outcome(path: str, kind: str, gold: Any = None, output: Any = None, error: str = "") -> dict[str, Any]:
    return {"path": path, "field": path, "outcome": kind, "gold": gold, "output": output, "error": error}


def score(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"fields": list(fields)}


def test_the_characters_that_differ_are_marked_on_both_sides() -> None:
    assert highlighted("INV-5365", "INV-5B65", "insert") == [(False, "INV-5"), (True, "B"), (False, "65")]
    assert highlighted("INV-5365", "INV-5B65", "delete") == [(False, "INV-5"), (True, "3"), (False, "65")]
    [row] = score_rows(score(outcome("id", "wrong", "INV-5365", "INV-5B65", "wrong_value")))
    assert row.gold == [(False, "INV-5"), (True, "3"), (False, "65")]
    assert row.cells[0] is not None
    assert row.cells[0].pieces == [(False, "INV-5"), (True, "B"), (False, "65")]
    assert not row.right


def test_what_is_right_is_not_marked_even_where_it_is_written_differently() -> None:
    [row] = score_rows(score(outcome("total", "correct", Decimal("1248.50"), Decimal("1248.5"))))
    assert row.gold == [(False, "1248.50")]
    assert row.cells[0] is not None
    assert row.cells[0].pieces == [(False, "1248.5")]
    assert row.right


def test_two_outputs_stand_in_the_rows_of_the_fields_that_either_has() -> None:
    a = score(outcome("x", "correct", "1", "1"), outcome("rows[0]", "missing", "2", None, "missing"))
    b = score(outcome("x", "extra", None, "3", "extra"), outcome("rows[1]", "extra", None, "4", "row"))
    rows = score_rows(a, b)
    assert [row.path for row in rows] == ["x", "rows[0]", "rows[1]"]
    assert rows[1].cells[1] is None
    assert rows[2].cells[1] is not None
    assert rows[2].cells[1].pieces == [(True, "4")]
    assert not any(row.right for row in rows)


Bound = float | None


def verdict(metric: str, operator: str, limit: float, low: Bound, value: Bound, high: Bound) -> dict[str, Any]:
    return {
        "gate": {"metric": metric, "operator": operator, "threshold": limit},
        "low": low,
        "measured": value,
        "high": high,
        "status": "NOT PROVEN",
    }


def test_thresholds_and_bounds_are_written_in_the_unit_of_the_metric() -> None:
    assert threshold(verdict("schema_valid_rate", ">=", 0.98, None, None, None)) == "≥ 98%"
    assert threshold(verdict("no_regression", ">=", 0.02, None, None, None)) == "≥ −2 points"
    assert threshold(verdict("p95_latency_ms", "<=", 900, None, None, None)) == "≤ 900 ms"
    assert bounds(verdict("field_error_rate", "<=", 0.1, 0.02, 0.03, 0.075)) == "2.0% to 7.5%"
    assert bounds(verdict("p95_latency_ms", "<=", 900, 363, 373, None)) == "at least 363 ms"
    assert bounds(verdict("peak_memory_gb", "<=", 16, 0.8, 0.8, 0.8)) == ""
    assert in_unit({"metric": "cost_per_request"}, 0.0000197) == "$0.0000197"
    assert in_unit({"metric": "cost_per_request", "currency": "EUR"}, 0.5) == "€0.50"


def test_right_fields_have_the_interval_of_documents_or_none() -> None:
    rate = {"k": 19, "n": 20, "rate": 0.95, "low": 0.764, "high": 0.991}
    run = EvalRun(scores={"field_exact": rate})
    assert field_accuracy_rate(run) == rate_only(rate), "that of the scores counts fields"
    run.facts = {"bounds": {"field_exact": {"low": 0.5, "high": 1.0}}}
    assert field_accuracy_rate(run) == {**rate, "low": 0.5, "high": 1.0}
    assert field_accuracy_rate(EvalRun()) == {}


def test_free_text_is_shown_but_not_scored() -> None:
    written = {"path": "why", "field": "why", "gold": "It is", "output": "It was"}
    stored = {**score(outcome("queue", "correct", "a", "a")), "free": [written]}
    rows = score_rows(stored)
    assert [row.path for row in rows] == ["queue", "why"]
    assert rows[1].right
    assert rows[1].cells[0] is not None
    assert rows[1].cells[0].label == "free text, not scored"
    assert rows[1].cells[0].pieces == [(False, "It was")]


def test_a_table_of_classes_begins_with_the_one_that_is_most_often_mistaken() -> None:
    matrix = {"": {"b": 1}, "a": {"a": 3}, "b": {"": 2, "a": 1, "b": 1}}
    figures = {"matrix": matrix, "classes": {"a": {"n": 3}, "b": {"n": 4}, "c": {"n": 0}}}
    [table] = confusion_matrices({"classes": {"queue": {**figures, "right": {}, "decided": {}, "macro": {}}}})
    assert [(row.name, row.confused_with) for row in table.rows] == [("b", (("", 2), ("a", 1))), ("a", ()), ("c", ())]
    assert table.columns == ("a", "b", "c", "")
    assert table.matrix == (
        ("a", ((3, True), (0, False), (0, False), (0, False))),
        ("b", ((1, False), (1, True), (0, False), (2, False))),
        ("", ((0, False), (1, False), (0, False), (0, False))),
    )
    assert confusion_matrices({}) == []
