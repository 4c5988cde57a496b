"""Texts with the layout of their pages: where words come to stand, and that only white space changes."""

import json
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.imports.formats.page_layout import laid_out
from labeling.imports.formats.page_text import matching_pages, pages_of
from labeling.imports.formats.text_places import find_places
from labeling.imports.rows import validate_row
from tests.labeling.import_files import pdf, read, schema, stored

LETTER, HEIGHT = 10, 20


def page_of(*lines: tuple[str, int, int]) -> dict[str, Any]:
    """A page of texts with the column and the line at which they begin."""
    boxes = [
        {"text": text, "bbox": [column * LETTER, line * HEIGHT, (column + len(text)) * LETTER, (line + 1) * HEIGHT - 2]}
        for text, column, line in lines
    ]
    return {"width": 800, "height": 1000, "lines": boxes}


def text_of(text: str, page: Any) -> str:
    """A text with the layout of its page or pages."""
    return laid_out(text, pages_of(page, text))[0]


def boxed(text: str, page: Any) -> list[str]:
    """What the boxes hold after the layout."""
    layout, pages = laid_out(text, pages_of(page, text))
    return [layout[start:end] for page in pages for start, end, *_ in page.lines]


RECEIPT = page_of(
    ("ABC Trading", 12, 1), ("Item", 3, 4), ("Price", 20, 4), ("Paper", 3, 5), ("2.50", 21, 5), ("Total", 3, 8),
    ("2.50", 21, 8),
)  # fmt: skip
TEXT = "ABC Trading\nItem  Price\nPaper  2.50\nTotal  2.50"
LAID_OUT = "\n".join((
    "         ABC Trading",
    "",
    "Item             Price",
    "Paper             2.50",
    "",
    "Total             2.50",
))  # fmt: skip


def test_columns_and_gaps_are_those_of_the_page() -> None:
    assert text_of(TEXT, RECEIPT) == LAID_OUT
    spaced = TEXT.replace("Total", "\nTotal")  # with a blank line of its own
    assert text_of(spaced, RECEIPT) == LAID_OUT


def test_boxes_are_at_the_same_words() -> None:
    [page] = pages_of(RECEIPT, TEXT)
    _, [moved] = laid_out(TEXT, [page])
    assert boxed(TEXT, RECEIPT) == [line["text"] for line in RECEIPT["lines"]]
    assert [box[2:] for box in moved.lines] == [line[2:] for line in page.lines]


def test_each_page_has_its_own_margin() -> None:
    pages = [page_of(("First", 30, 1), ("page", 36, 2)), page_of(("Second", 5, 1), ("page", 9, 2))]
    for between in ("\n\n", "\f", " "):
        text = f"First\npage{between}Second\npage"
        layout, placed = laid_out(text, pages_of(pages, text))
        assert layout.split() == text.split()
        assert boxed(text, pages) == ["First", "page", "Second", "page"]
        if between == "\n\n":
            assert layout == "First\n      page\n\nSecond\n    page"
            assert [layout[page.start : page.end] for page in placed] == ["First\n      page", "Second\n    page"]


def test_text_without_boxes_stays() -> None:
    text = "Copy\nItem  Price : net\n\n  Thank you"
    page = page_of(("Item", 3, 1), ("Price", 20, 1), ("net", 27, 1))
    assert text_of(text, page) == "Copy\nItem             Price : net\n\n  Thank you"
    assert laid_out(text, ()) == (text, ())
    for box in ([5, 5, 5, 5], [90, 5, 10, 9]):  # boxes without a width
        page = {"width": 10, "height": 10, "lines": [{"text": "Total", "bbox": box}]}
        assert text_of("Total  2.50", page) == "Total  2.50"


def test_boxes_of_a_word_stay_together_and_those_of_several_lines_are_divided() -> None:
    page = page_of(("Total", 0, 1), ("RM", 20, 1), ("12.50", 25, 1))
    assert text_of("Total RM12.50", page) == "Total               RM12.50"
    page = {"width": 99, "height": 99, "lines": [{"text": "Item \n Price\n", "bbox": [0, 0, 50, 60]}]}
    [divided] = pages_of(page, "Item\nPrice")
    assert divided.lines == [[0, 4, 0, 0, 50, 20], [5, 10, 0, 20, 50, 40]]
    assert text_of("Item\nPrice", page) == "Item\nPrice"
    # A column far to the right is near.
    assert len(text_of("Item  Price", page_of(("Item", 0, 1), ("Price", 5_000, 1)))) == 200 + len("Price")


words = st.text("abc1,. \n", min_size=1, max_size=9)
sides = st.integers(0, 2_000)
boxes = st.tuples(words, st.tuples(sides, sides, sides, sides), st.sampled_from(["", " ", "  ", "\n", "\n\n", "\f"]))


@given(st.lists(st.lists(boxes, max_size=6), min_size=1, max_size=3))
def test_only_white_space_changes(pages: list[list[tuple[str, tuple[int, int, int, int], str]]]) -> None:
    text = "".join(word + after for page in pages for word, _, after in page)
    page = [
        {"width": 9, "height": 9, "lines": [{"text": word, "bbox": list(box)} for word, box, _ in page]}
        for page in pages
    ]
    placed = pages_of(page, text)
    assert text_of(text, page).split() == text.split()
    assert boxed(text, page) == [text[start:end] for page in placed for start, end, *_ in page.lines]
    ends = [side for page in laid_out(text, placed)[1] for side in (page.start, page.end)]
    assert ends == sorted(ends)


def test_pages_in_another_order_than_the_text() -> None:
    pages = [page_of(("second", 0, 0)), page_of(("first", 0, 0)), page_of(("third", 0, 0))]
    _, placed = laid_out("first\nsecond\nthird", pages_of(pages, "first\nsecond\nthird"))
    ends = [side for page in placed for side in (page.start, page.end)]
    assert ends == sorted(ends)


def test_pages_of_other_texts_do_not_match() -> None:
    assert matching_pages(RECEIPT, TEXT) == pages_of(RECEIPT, TEXT)
    many, tall = page_of(*[("a", 0, 0)] * 20_001), page_of(("a\n" * 20_001, 0, 0))
    for page, message in (
        (RECEIPT, "Item"), ({"lines": []}, "width"), ([], "width"), (many, "20,000"), (tall, "20,000"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            matching_pages(page, "ABC Trading\nPaper")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_rows_keep_their_text_unless_the_layout_is_wanted(tmp_path: Path, name: str) -> None:
    data = json.dumps([{"id": "a", "text": TEXT, "page": RECEIPT}, {"id": "b", "text": "No page"}])
    if name.endswith(".jsonl"):
        data = "\n".join(json.dumps(row) for row in json.loads(data))
    path = stored(tmp_path, name, data.encode())
    assert [row.data["text"] for row in read(path)] == [TEXT, "No page"]
    laid = read(path, layout=True)
    assert [row.data["text"] for row in laid] == [LAID_OUT, "No page"]
    row = validate_row(laid[0], schema())
    assert row.metadata == {}
    assert [row.text[start:end] for start, end, *_ in row.pages[0].lines] == [line["text"] for line in RECEIPT["lines"]]


def test_rows_are_rejected_where_the_page_is_not_that_of_the_text(tmp_path: Path) -> None:
    other = {"width": 9, "height": 9, "lines": [{"text": "Other", "bbox": [0, 0, 9, 9]}]}
    rows = [{"text": "a", "page": other}, {"text": "a", "page": "y"}, {"text": 5, "page": other}, {"page": other}, [1]]
    path = stored(tmp_path, "rows.jsonl", "\n".join(json.dumps(row) for row in rows).encode())
    laid = read(path, layout=True)
    assert ["page" in row.error for row in laid] == [True, True, False, False, False]
    assert [row.data for row in laid] == rows
    assert not any(row.error for row in read(path))


def test_a_pdf_has_its_layout(tmp_path: Path) -> None:
    line = "Paper) Tj 200 0 Td (2.50) Tj -200 -60 Td (Total"
    path = stored(tmp_path, "a.pdf", pdf([[line], ["Second"]]))
    [plain], [laid] = read(path), read(path, layout=True)
    assert plain.data["text"] == "Paper  2.50\nTotal\n\nSecond"
    text = laid.data["text"]
    first, gap, last = text.split("\n")[:3]
    assert (first.split(), gap, last) == (["Paper", "2.50"], "", "Total")
    assert first.index("2.50") > 20
    assert [text[start:end] for start, end, *_ in laid.pages[0].lines] == ["Paper", "2.50", "Total"]
    assert text[laid.pages[1].start : laid.pages[1].end] == "Second"


# -- lines of a page are found in a text, each place once, in whatever order the text has them --


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
