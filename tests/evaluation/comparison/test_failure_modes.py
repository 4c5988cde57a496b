"""Failure modes: every tag and slice before and after, and intervals in which the document is the unit."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from evaluation.comparison.document_filter import DocumentColumns
from evaluation.comparison.failure_modes import failure_modes
from evaluation.scores.rates import field_accuracy, sign_test
from evaluation.scores.score_view import FieldCount
from evaluation.stats import benjamini_hochberg
from slmstudio.contract.scoring.summary import wilson

ALL, HALF, NONE = FieldCount(10, 10), FieldCount(5, 10), FieldCount(0, 10)


def test_a_row_for_every_tag_what_lost_most_first() -> None:
    cases = DocumentColumns(tuple("abcd"), "bwfr", {}, {}).about(
        tags={"a": ["worse"], "b": ["worse"], "c": ["better"], "d": ["better", "same"]}, metadata={}
    )
    rows = failure_modes(cases, [ALL, HALF, NONE, ALL], [NONE, HALF, ALL, ALL])

    assert [row["value"] for row in rows] == ["worse", "same", "better"]
    worse, same, better = rows
    assert (worse["n"], worse["broken"], worse["fixed"], worse["better"], worse["worse"]) == (2, 1, 0, 0, 1)
    assert (worse["a"]["k"], worse["b"]["k"], worse["a"]["n"]) == (15, 5, 20)
    assert worse["change"] == pytest.approx(-0.5)
    assert (same["change"], same["p_value"]) == (0.0, 1.0)
    assert better["change"] == pytest.approx(0.5)


def test_metadata_makes_slices_beside_tags() -> None:
    cases = DocumentColumns(tuple("abcd"), "rrrr", {}, {}).about(
        tags={}, metadata={key: {"supplier": "ACME" if key < "c" else "Bolt"} for key in "abcd"}
    )
    rows = failure_modes(cases, [ALL] * 4, [ALL] * 4)

    assert [(row["kind"], row["key"], row["value"], row["n"]) for row in rows] == [
        ("metadata", "supplier", "ACME", 2),
        ("metadata", "supplier", "Bolt", 2),
    ]


def test_a_slice_that_is_worse_by_more_than_luck_is_found() -> None:
    names = [f"d{i}" for i in range(60)]
    cases = DocumentColumns(tuple(names), "b" * 30 + "r" * 30, {}, {}).about(
        tags={name: ["bad" if i < 30 else "good"] for i, name in enumerate(names)}, metadata={}
    )
    rows = failure_modes(cases, [ALL] * 60, [HALF] * 30 + [ALL] * 30)

    assert [row["value"] for row in rows if row["p_adjusted"] < 0.05] == ["bad"]
    assert (rows[0]["worse"], rows[0]["better"], rows[0]["mixed"]) == (30, 0, False)
    assert rows[0]["p_value"] == pytest.approx(2 * 0.5**30)
    assert [row["p_adjusted"] for row in rows] == benjamini_hochberg([row["p_value"] for row in rows])
    assert rows[0]["p_adjusted"] == 2 * rows[0]["p_value"]


def test_a_rate_that_rises_while_most_documents_get_worse_is_mixed() -> None:
    """40 documents lose one of 10 fields, 10 gain 30 of 40."""
    names = tuple(f"d{i}" for i in range(50))
    cases = DocumentColumns(names, "w" * 50, {}, {}).about(tags={name: ["all"] for name in names}, metadata={})
    [row] = failure_modes(
        cases, [ALL] * 40 + [FieldCount(5, 40)] * 10, [FieldCount(9, 10)] * 40 + [FieldCount(35, 40)] * 10
    )

    assert row["change"] > 0
    assert (row["better"], row["worse"], row["mixed"]) == (10, 40, True)


def test_the_sign_test_is_mcnemars_where_values_are_right_and_wrong() -> None:
    before, after = [0] * 10 + [1] * 30, [1] * 9 + [0] + [1] * 28 + [0] * 2

    better, worse, p_value = sign_test(before, after)

    assert (better, worse) == (9, 2)
    assert p_value == pytest.approx(binomtest(2, 11).pvalue)


# -- the interval ------------------------------------------------------------------------------------------------------


def test_fields_that_are_right_and_wrong_together_count_as_their_documents() -> None:
    """Each document wholly right or wholly wrong: ten fields say no more than one."""
    told = field_accuracy([ALL] * 30 + [NONE] * 10)
    documents = wilson(30, 40)

    assert (told["k"], told["n"], told["rate"]) == (300, 400, 0.75)
    assert told["low"] == pytest.approx(documents["low"], abs=0.01)
    assert told["high"] == pytest.approx(documents["high"], abs=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Documents share their luck: in half of them fields are right with 0.9, in the others with 0.6."""
    rng = random.Random(11)
    inside = 0
    for _ in range(400):
        documents = [
            FieldCount(sum(rng.random() < chance for _ in range(8)), 8) for chance in rng.choices((0.9, 0.6), k=60)
        ]
        told = field_accuracy(documents)
        inside += told["low"] <= 0.75 <= told["high"]

    assert inside / 400 > 0.92


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=30))
def test_the_rate_is_always_within_its_interval(pairs: list[tuple[int, int]]) -> None:
    told = field_accuracy([FieldCount(min(pair), max(pair)) for pair in pairs])
    if told["n"]:
        assert 0 <= told["low"] <= told["rate"] <= told["high"] <= 1
