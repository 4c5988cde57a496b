"""Comparison of two runs: per document and field, with significance, on what they have in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.comparison.paired import compare
from evaluation.inference.prices import cost_of_time, cost_of_tokens
from evaluation.scores.display import diff_chars
from evaluation.stats import distribution, percentile


@dataclass(frozen=True)
class Outcome:
    """A field outcome as scoring has it, with more than comparing needs."""

    path: str
    field: str
    outcome: str
    gold: Any = None
    output: Any = None
    error: str = ""


@dataclass(frozen=True)
class Score:
    """A document score as scoring has it."""

    exact: bool
    schema_valid: bool
    fields: tuple[Outcome, ...]


def score(**outcomes: str) -> Score:
    exact = all(outcome in ("correct", "both_absent") for outcome in outcomes.values())
    return Score(exact, True, tuple(Outcome(name, name, outcome) for name, outcome in outcomes.items()))


RIGHT, WRONG = score(date="correct", total="correct"), score(date="correct", total="wrong")
RUN_A = [("d1", RIGHT), ("d2", WRONG), ("d3", RIGHT), ("d4", WRONG), ("only-a", RIGHT)]
RUN_B = [("d4", WRONG), ("d3", RIGHT), ("d2", RIGHT), ("d1", WRONG), ("only-b", RIGHT), ("also-b", RIGHT)]


def test_documents_fall_into_four_states_and_only_shared_ones_count() -> None:
    result = compare(RUN_A, RUN_B)[0]
    assert (result["broken"], result["fixed"]) == (["d1"], ["d2"])
    assert result["counts"] == {"broken": 1, "fixed": 1, "still_wrong": 1, "still_right": 1}
    assert result["outcomes"] == {"correct": [6, 6], "wrong": [2, 2]}
    assert (result["n"], result["left_out_a"], result["left_out_b"]) == (4, 1, 2)
    assert result["note"]
    assert compare(RUN_A, RUN_A)[0]["note"] == ""
    apart = compare([("a", RIGHT)], [("b", RIGHT)])[0]
    assert (apart["n"], apart["p_value"], apart["fields"]) == (0, 1.0, [])
    with pytest.raises(ValueError, match="run B has document d1 twice"):
        compare(RUN_A, [("d1", RIGHT), ("d1", WRONG)])


def test_the_p_value_is_exact_mcnemar_over_documents() -> None:
    a = [(f"d{i}", WRONG if i < 12 else RIGHT) for i in range(40)]
    b = [(f"d{i}", WRONG if i in (0, 1, 20) else RIGHT) for i in range(40)]
    result = compare(a, b)[0]

    assert (len(result["fixed"]), len(result["broken"])) == (10, 1)
    assert result["p_value"] == pytest.approx(binomtest(1, 11).pvalue)


def test_each_field_has_its_own_row_and_holm_over_all_of_them() -> None:
    a = [(f"d{i}", score(date="wrong", total="correct", vendor="wrong" if i < 2 else "correct")) for i in range(10)]
    b = [(f"d{i}", score(date="correct", total="correct", vendor="correct")) for i in range(10)]
    date, total, vendor = compare(a, b)[0]["fields"]

    assert (date["field"], date["n"], date["a_right"], date["b_right"]) == ("date", 10, 0, 10)
    assert date["p_value"] == pytest.approx(2 / 2**10)
    assert date["p_adjusted"] == pytest.approx(3 * date["p_value"])
    assert (total["p_value"], total["fixed"], total["broken"]) == (1.0, 0, 0)
    assert (vendor["fixed"], vendor["p_value"], vendor["p_adjusted"]) == (2, 0.5, 1.0)


def test_a_field_is_right_where_all_its_occurrences_are() -> None:
    def rows(*outcomes: str) -> Score:
        fields = tuple(Outcome(f"lines[{i}].amount", "lines[].amount", outcome) for i, outcome in enumerate(outcomes))
        return Score(all(outcome == "correct" for outcome in outcomes), True, fields)

    (row,) = compare([("d", rows("correct", "wrong"))], [("d", rows("correct", "correct", "correct"))])[0]["fields"]

    assert (row["field"], row["n"], row["fixed"]) == ("lines[].amount", 1, 1)


def test_fields_absent_on_both_sides_do_not_count() -> None:
    a = [("d1", score(due="both_absent", date="correct")), ("d2", score(due="both_absent", date="correct"))]
    b = [("d1", score(due="both_absent", date="correct")), ("d2", score(due="extra", date="correct"))]
    rows = {row["field"]: row for row in compare(a, b)[0]["fields"]}

    assert (rows["due"]["n"], rows["due"]["broken"], rows["due"]["fixed"]) == (1, 1, 0)


def test_a_field_that_only_one_was_asked_for_is_neither_fixed_nor_broken() -> None:
    asked_more = score(date="correct", total="correct", iban="wrong")
    a, b = (
        [("d1", RIGHT), ("d2", RIGHT)],
        [("d1", asked_more), ("d2", score(date="correct", total="wrong", iban="wrong"))],
    )
    result = compare(a, b, frozenset({"date", "total"}))[0]

    assert [row["field"] for row in result["fields"]] == ["date", "total"]
    assert (result["counts"]["still_right"], result["broken"]) == (1, ["d2"]), "right where the shared fields are"
    assert {measure["name"]: measure["b"]["k"] for measure in result["measures"]}["field_exact"] == 3
    assert result["outcomes"] == {"correct": [4, 3], "wrong": [0, 1]}
    invalid = Score(False, False, asked_more.fields)
    assert compare([("d1", RIGHT)], [("d1", invalid)], frozenset({"date", "total"}))[0]["broken"] == ["d1"]
    unclean = {"exact": False, "schema_valid": True, "no_extra_keys": False, "fields": []}
    assert compare([("d1", RIGHT)], [("d1", unclean)], frozenset({"date"}))[0]["broken"] == ["d1"]


def test_errors_are_counted_in_fields_and_in_documents() -> None:
    two = {"exact": False, "schema_valid": True, "fields": [
        {"field": "date", "outcome": "hallucinated", "error": "hallucinated"},
        {"field": "total", "outcome": "hallucinated", "error": "hallucinated"},
    ]}  # fmt: skip
    result, cases, _ = compare([("d", RIGHT)], [("d", two)])
    assert (result["errors"], cases.errors) == ({"hallucinated": [0, 2, 0, 1]}, {"hallucinated": "2"})
    invented = next(measure for measure in result["measures"] if measure["name"] == "hallucinated")
    assert (invented["worse"], invented["better"], invented["good_is_up"]) == (1, 0, False)
    invalid = Score(False, False, (Outcome("date", "date", "unscorable"), Outcome("total", "total", "unscorable")))
    assert [row["broken"] for row in compare([("d", RIGHT)], [("d", invalid)])[0]["fields"]] == [1, 1]


# -- differences inside a value ----------------------------------------------------------------------------------------


def test_differing_characters_are_marked() -> None:
    assert diff_chars("A-1029", "A-1029") == [("equal", "A-1029")]
    assert diff_chars("A-1029", "A-1O29") == [("equal", "A-1"), ("delete", "0"), ("insert", "O"), ("equal", "29")]
    assert diff_chars("Acme", "Acme Ltd") == [("equal", "Acme"), ("insert", " Ltd")]
    assert (diff_chars("", "x"), diff_chars("x", ""), diff_chars("", "")) == ([("insert", "x")], [("delete", "x")], [])


# -- latency and cost ------------------------------------------------------------------------------


def test_percentiles_and_spreads_of_latencies() -> None:
    values = [812.0, 640.5, 990.0, 5000.0, 700.0, 701.0, 702.5]
    for p in (0.0, 0.5, 0.95, 0.99, 1.0):
        assert percentile(values, p) == pytest.approx(float(np.quantile(values, p)))
    spread = distribution([100.0, 200.0, 300.0])
    assert [spread[name] for name in ("n", "mean", "p50", "p95", "p99", "max")] == pytest.approx(
        [3, 200.0, 200.0, 290.0, 298.0, 300.0]
    )
    assert distribution([]) == {"n": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}


def test_what_a_request_costs() -> None:
    assert cost_of_time(1800, 2.0) == pytest.approx(0.001)
    assert cost_of_tokens(1000, 100, price_per_million_in=0.5, price_per_million_out=2.0) == pytest.approx(0.0007)


def test_families_are_better_or_worse_as_a_whole() -> None:
    a = [(str(key), score(total="wrong" if key < 8 else "correct")) for key in range(40)]
    b = [(str(key), score(total="correct")) for key in range(40)]
    alone = compare(a, b)[0]
    together = compare(a, b, families={str(key): key // 8 for key in range(40)})[0]
    assert (alone["fixed"], alone["broken"]) == (together["fixed"], together["broken"])
    assert alone["p_value"] < 0.01 < 0.9 < together["p_value"]
    assert together["fields"][0]["p_value"] == together["p_value"]
    rates = {
        measure["name"]: (before["a"]["low"], measure["a"]["low"])
        for before, measure in zip(alone["measures"], together["measures"], strict=True)
    }
    assert all(low < before for before, low in (rates["document_exact"], rates["field_exact"]))
    assert compare(a, b, families={str(key): key for key in range(40)})[0] == alone
