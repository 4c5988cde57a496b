"""Two people change one label: every change of both is in the result, or is reported."""

import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.form.merge import MISSING, MergeConflict, merge, same

BASE = {"a": "1", "b": {"c": "2"}, "rows": [{"x": "r0"}, {"x": "r1"}, {"x": "r2"}]}


def changed(**changes: Any) -> dict[str, Any]:
    return {**BASE, **changes}


def test_different_fields_are_merged_and_the_same_field_conflicts() -> None:
    merged = merge(BASE, changed(a="mine"), changed(b={"c": "theirs", "d": "new"}))
    assert merged.value == changed(a="mine", b={"c": "theirs", "d": "new"})
    assert (merged.taken, merged.conflicts) == (["b"], [])
    merged = merge(BASE, changed(a="mine"), changed(a="theirs"))
    assert merged.value["a"] == "mine"
    assert merged.conflicts == [MergeConflict("a", "theirs")]
    merged = merge(BASE, changed(a="both"), changed(a="both"))
    assert (merged.value, merged.taken, merged.conflicts) == (changed(a="both"), [], [])


def test_removed_field_stays_if_the_other_side_changed_it() -> None:
    without = {name: value for name, value in BASE.items() if name != "a"}
    assert "a" not in merge(BASE, BASE, without).value
    assert merge(BASE, without, changed(a="theirs")).value["a"] == "theirs"
    kept = merge(BASE, changed(a="mine"), without)
    assert kept.value["a"] == "mine"
    assert kept.conflicts == [MergeConflict("a", MISSING)]


def test_added_rows_are_kept_and_edits_follow_their_row() -> None:
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


def test_edit_follows_its_row_after_replacement_of_another() -> None:
    mine = changed(rows=[{"x": "r1"}, {"x": "r2"}, {"x": "my new"}])
    theirs = changed(rows=[{"x": "r0"}, {"x": "r1"}, {"x": "r2", "y": "edit"}])
    for merged in (merge(BASE, mine, theirs), merge(BASE, theirs, mine)):
        assert merged.value["rows"] == [{"x": "r1"}, {"x": "r2", "y": "edit"}, {"x": "my new"}]
        assert merged.conflicts == []


def test_edit_follows_its_row_between_unchanged_rows() -> None:
    first, gone, edited, last, new = ({"x": name} for name in ("first", "gone", "row", "last", "new"))
    theirs = {"x": "row", "y": "theirs"}
    merged = merge(
        {"rows": [first, gone, edited, last]},
        {"rows": [first, edited, new, last]},
        {"rows": [first, gone, theirs, last]},
    )
    assert merged.value == {"rows": [first, theirs, new, last]}
    assert merged.conflicts == []


def test_edit_follows_its_row_after_moves() -> None:
    first, second, edited, last, new, other = (
        {"x": name} for name in ("first", "second", "row", "last", "new", "other")
    )
    theirs = {"x": "row", "y": "theirs"}
    mine = [second, new, first, edited, other]
    merged = merge({"rows": [first, second, edited, last]}, {"rows": mine}, {"rows": [first, second, theirs, last]})
    assert merged.value == {"rows": [second, new, first, theirs, other]}
    assert merged.conflicts == []


def test_edits_in_place_stay_in_their_row() -> None:
    first, second, third, last = ({"x": name} for name in ("first", "second", "third", "last"))
    mine = [first, {"x": "1"}, {"x": "2"}, last]
    theirs = {"rows": [first, second, third, {"x": "theirs"}]}
    merged = merge({"rows": [first, second, third, last]}, {"rows": mine}, theirs)
    assert merged.value == {"rows": [*mine[:3], {"x": "theirs"}]}
    # A row that became like the one below it is still the row that it was.
    merged = merge({"rows": [second, third]}, {"rows": [third, third]}, {"rows": [{**second, "y": "theirs"}, third]})
    assert merged.value == {"rows": [{"x": "third", "y": "theirs"}, third]}


def test_row_order_of_names_is_ignored() -> None:
    base = [{"name": letter, "amount": number, "of": {"a": 1, "b": 2}} for number, letter in enumerate("abc")]
    mine = [{"of": {"b": 2, "a": 1}, "amount": row["amount"], "name": row["name"]} for row in base[1:]]
    theirs = [*base[:2], {**base[2], "amount": 9}]
    assert merge(base, mine, theirs).value == [base[1], {**base[2], "amount": 9}]


@pytest.mark.slow
@pytest.mark.parametrize("equal", [True, False])
def test_many_rows_merge_fast(equal: bool) -> None:
    """A save locks the document's row during the merge."""
    count = 3_000
    base = [{"x": "" if equal else str(number)} for number in range(count)]
    mine = [*base[:500], {"x": "mine"}, *base[501:2_000], {"x": "more"}, *base[2_001:]]
    started = time.process_time()
    merged = merge(base, mine, [{"x": "theirs"}, *base, *[{"x": "end"}] * 2_000])
    assert [merged.value.count({"x": who}) for who in ("mine", "more", "theirs", "end")] == [1, 1, 1, 2_000]
    assert len(merged.value) == count + 2_001
    merged = merge(base, base[::-1], [*base, *base])
    assert {row["x"] for row in merged.value} == {row["x"] for row in base}
    added = [{"x": f"new {number}"} for number in range(count)]
    assert len(merge([], added, [*added[::2], {"x": "theirs"}]).value) == count + 1
    assert time.process_time() - started < 2


def test_unchanged_rows_are_found_among_equal_ones() -> None:
    base = [{"x": "same"}] * 6
    mine = [{"x": "one"}, *base[:4], {"x": "two"}]
    assert merge(base, mine, [*base[:2], {"x": "theirs"}, *base[3:]]).value == [
        {"x": "one"}, base[0], {"x": "theirs"}, base[0], base[0], {"x": "two"}
    ]  # fmt: skip


def test_row_removed_and_edited_stays() -> None:
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


@settings(deadline=None)
@given(VALUES, VALUES)
def test_unchanged_side_yields_the_other(base: dict[str, Any], other: dict[str, Any]) -> None:
    assert merge(base, other, base).value == other
    assert merge(base, base, other).value == other
    assert merge(base, other, base).taken == []


@settings(deadline=None)
@given(VALUES, VALUES, VALUES)
def test_my_changes_are_never_lost(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    merged = merge(base, mine, theirs).value
    for name, value in mine.items():
        if not isinstance(value, list) and not same(base.get(name, MISSING), value):
            assert same(merged.get(name, MISSING), value)


def test_any_values_can_be_merged() -> None:
    values: list[Any] = [[], "text", None, 5]
    for value in values:
        assert merge({}, {"a": 1}, value).conflicts == [MergeConflict("", value)]
