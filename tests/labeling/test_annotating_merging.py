"""Two people change one label: every change of both is in the result, or is reported."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.merging import MISSING, Clash, merge, same

BASE = {"a": "1", "b": {"c": "2"}, "rows": [{"x": "r0"}, {"x": "r1"}, {"x": "r2"}]}


def changed(**changes: Any) -> dict[str, Any]:
    return {**BASE, **changes}


def test_different_fields_are_put_together() -> None:
    merged = merge(BASE, changed(a="mine"), changed(b={"c": "theirs", "d": "new"}))
    assert merged.value == changed(a="mine", b={"c": "theirs", "d": "new"})
    assert merged.taken == ["b"]
    assert merged.clashes == []


def test_the_same_field_keeps_mine_and_reports_theirs() -> None:
    merged = merge(BASE, changed(a="mine"), changed(a="theirs"))
    assert merged.value["a"] == "mine"
    assert merged.clashes == [Clash("a", "theirs")]


def test_the_same_change_is_no_clash() -> None:
    merged = merge(BASE, changed(a="both"), changed(a="both"))
    assert (merged.value, merged.taken, merged.clashes) == (changed(a="both"), [], [])


def test_a_removed_field_goes_unless_the_other_changed_it() -> None:
    without = {name: value for name, value in BASE.items() if name != "a"}
    assert "a" not in merge(BASE, BASE, without).value
    assert merge(BASE, without, changed(a="theirs")).value["a"] == "theirs"
    kept = merge(BASE, changed(a="mine"), without)
    assert kept.value["a"] == "mine"
    assert kept.clashes == [Clash("a", MISSING)]


def test_rows_of_both_are_kept_and_edits_follow_their_row() -> None:
    mine = changed(rows=[*BASE["rows"], {"x": "my new"}])
    theirs = changed(rows=[{"x": "their new"}, {"x": "r0"}, {"x": "r1"}, {"x": "r2"}])
    assert merge(BASE, mine, theirs).value["rows"] == [
        {"x": "their new"},
        {"x": "r0"},
        {"x": "r1"},
        {"x": "r2"},
        {"x": "my new"},
    ]
    edited = changed(rows=[{"x": "r0"}, {"x": "r1", "y": "edit"}, {"x": "r2"}])
    removed = changed(rows=[{"x": "r1"}, {"x": "r2"}])
    assert merge(BASE, edited, removed).value["rows"] == [{"x": "r1", "y": "edit"}, {"x": "r2"}]


def test_a_row_removed_by_one_and_edited_by_the_other_stays() -> None:
    edited = changed(rows=[{"x": "r0"}, {"x": "r1"}, {"x": "r2", "y": "edit"}])
    removed = changed(rows=[{"x": "r0"}, {"x": "r1"}])
    assert {"x": "r2", "y": "edit"} in merge(BASE, edited, removed).value["rows"]
    assert {"x": "r2", "y": "edit"} in merge(BASE, removed, edited).value["rows"]


def test_digits_count() -> None:
    assert not same(Decimal("1.50"), Decimal("1.5"))
    assert same({"a": 1, "b": [None]}, {"b": [None], "a": 1})
    assert not same(True, 1)


VALUES = st.dictionaries(
    st.sampled_from("abcd"),
    st.sampled_from(["x", "y", None]) | st.lists(st.sampled_from(["r", "s", "t"]), max_size=3),
    max_size=4,
)


@given(VALUES, VALUES)
def test_without_changes_of_one_side_the_other_side_is_the_result(base: dict[str, Any], other: dict[str, Any]) -> None:
    assert merge(base, other, base).value == other
    assert merge(base, base, other).value == other
    assert merge(base, other, base).taken == []


@given(VALUES, VALUES, VALUES)
def test_no_change_of_mine_is_lost(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    merged = merge(base, mine, theirs).value
    for name, value in mine.items():
        if not isinstance(value, list) and not same(base.get(name, MISSING), value):
            assert same(merged.get(name, MISSING), value)


@pytest.mark.parametrize("value", [[], "text", None, 5])
def test_any_kind_of_value_merges(value: Any) -> None:
    assert merge({}, {"a": 1}, value).clashes == [Clash("", value)]
