"""Lines of a page are found in a text, each place once, in whatever order the text has them."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.imports.formats.text_places import TextPlaces


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("Item Price\nPaper 2.50", ["Item", "Price", "Paper", "2.50"], [0, 5, 11, 17]),
        ("Paper 2.50\nItem Price", ["Item", "Price", "Paper", "2.50"], [11, 16, 0, 6]),
        ("2.50 a\n2.50 b\n2.50 c", ["2.50", "a", "2.50", "b", "2.50", "c"], [0, 5, 7, 12, 14, 19]),
        ("Total tax\ntax", ["tax", "Total tax"], [10, 0]),  # the longer line first
        ("taxes\ntax", ["tax"], [6]),  # not within a word where it stands by itself
        ("RM12.50", ["RM", "12.50"], [0, 2]),
        ("a\na", ["a", "a", "a"], [0, 2, None]),
        ("abc", ["b", "x", "abcd"], [1, None, None]),
        ("", ["a"], [None]),
    ],
)
def test_places(text: str, lines: list[str], expected: list[int | None]) -> None:
    assert TextPlaces(text).find(lines) == expected


@given(st.lists(st.text("ab,1", min_size=1, max_size=4), max_size=12), st.randoms())
def test_lines_that_make_up_a_text_do_not_overlap(lines: list[str], random: object) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    text = " ".join(shuffled)
    found = TextPlaces(text).find(lines)
    spans = sorted((place, place + len(line)) for place, line in zip(found, lines, strict=True) if place is not None)
    assert all(
        text[place : place + len(line)] == line for place, line in zip(found, lines, strict=True) if place is not None
    )
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(spans))


@pytest.mark.parametrize("lines", [["a b"] * 20_000, [f"a {number}" for number in range(20_000)], ["b" * 9] * 20_000])
def test_hostile_pages_end(lines: list[str]) -> None:
    began = time.process_time()
    TextPlaces("a " * 500_000).find(lines)
    assert time.process_time() - began < 30
