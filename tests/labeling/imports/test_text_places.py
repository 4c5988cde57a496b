"""Lines of a page are found in a text, each place once, in whatever order the text has them."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.imports.formats.text_places import find_places


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("Item Price\nPaper 2.50", ["Item", "Price", "Paper", "2.50"], [0, 5, 11, 17]),
        ("Paper 2.50\nItem Price", ["Item", "Price", "Paper", "2.50"], [11, 16, 0, 6]),
        ("2.50 a\n2.50 b\n2.50 c", ["2.50", "a", "2.50", "b", "2.50", "c"], [0, 5, 7, 12, 14, 19]),
        ("2.50 a\n2.50 b", ["b", "2.50", "a", "2.50"], [12, 0, 5, 7]),
        ("Total tax\ntax", ["tax", "Total tax"], [10, 0]),  # the longer line first
        ("b\ntaxes\ntax", ["tax", "b"], [8, 0]),  # not within a word where it stands by itself
        ("RM12.50\na", ["a", "RM", "12.50"], [8, 0, 2]),
        ("Qty 1 box\nPrice\n1", ["Price", "1"], [10, 16]),  # in this order
        ("1 2 1 2 1", ["1 2", "1 2 1"], [0, 4]),
        ("a\na", ["a", "a", "a"], [0, 2, None]),
        ("abc", ["b", "x", "abcd"], [1, None, None]),
        ("", ["a"], [None]),
        ("a", [], []),
    ],
)
def test_places(text: str, lines: list[str], expected: list[int | None]) -> None:
    assert find_places(text, lines) == expected


@given(st.lists(st.text("ab,1", min_size=1, max_size=4), max_size=12), st.integers(0, 99))
def test_places_do_not_overlap(lines: list[str], seed: int) -> None:
    text = " ".join(Random(seed).sample(lines, len(lines)))
    placed = [(place, line) for place, line in zip(find_places(text, lines), lines, strict=True) if place is not None]
    assert all(text[place : place + len(line)] == line for place, line in placed)
    spans = sorted((place, place + len(line)) for place, line in placed)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_many_lines_that_begin_alike_are_placed_in_another_order_with_limited_work() -> None:
    lines = [f"$1000.{number:04}" for number in range(5_000)]
    text = "\n".join(lines)
    places = find_places(text, lines[::-1])
    assert [text[place : place + 10] for place in places if place is not None] == lines[::-1]
    lines = ["x", *[f"a {number}" for number in range(1_000)]]
    places = find_places("a " * 10_000 + "x", lines, max_work=2_000_000)
    assert places[1:] == [None] * 1_000
