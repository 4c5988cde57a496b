"""Texts with the layout of their pages: where words come to stand, and that only white space changes."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.imports.formats.page_layout import laid_out, with_layout
from labeling.imports.formats.page_text import matching_pages, pages_of
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
    assert laid_out(TEXT, pages_of(RECEIPT, TEXT)) == LAID_OUT


def test_boxes_are_at_the_same_words() -> None:
    [page] = pages_of(RECEIPT, TEXT)
    text, boxes = with_layout(TEXT, page.lines)
    assert [text[start:end] for start, end, *_ in boxes] == [line["text"] for line in RECEIPT["lines"]]
    assert [box[2:] for box in boxes] == [line[2:] for line in page.lines]


def test_each_page_has_its_own_margin() -> None:
    pages = [page_of(("First", 30, 1), ("page", 36, 2)), page_of(("Second", 5, 1), ("page", 9, 2))]
    text = "First\npage\n\nSecond\npage"
    assert laid_out(text, pages_of(pages, text)) == "First\n      page\n\nSecond\n    page"


def test_text_without_boxes_stays() -> None:
    text = "Copy\nItem  Price : net\n\n  Thank you"
    page = page_of(("Item", 3, 1), ("Price", 20, 1), ("net", 27, 1))
    assert laid_out(text, pages_of(page, text)) == "Copy\nItem             Price : net\n\n  Thank you"
    assert laid_out(text, ()) == text


def test_a_column_far_to_the_right_is_near() -> None:
    text = "Item  Price"
    page = page_of(("Item", 0, 1), ("Price", 5_000, 1))
    assert len(laid_out(text, pages_of(page, text))) == 200 + len("Price")


@pytest.mark.parametrize("box", [[5, 5, 5, 5], [90, 5, 10, 9]])
def test_boxes_without_a_width_change_nothing(box: list[int]) -> None:
    text = "Total  2.50"
    page = {"width": 10, "height": 10, "lines": [{"text": "Total", "bbox": box}]}
    assert laid_out(text, pages_of(page, text)) == text


words = st.text("abc1,.", min_size=1, max_size=9)
sides = st.integers(0, 2_000)


@given(st.lists(st.lists(st.tuples(words, st.tuples(sides, sides, sides, sides)), max_size=4), max_size=6))
def test_only_white_space_changes(lines: list[list[tuple[str, tuple[int, int, int, int]]]]) -> None:
    text = "\n".join("  ".join(word for word, _ in line) for line in lines)
    boxes = [{"text": word, "bbox": list(box)} for line in lines for word, box in line]
    pages = pages_of({"width": 9, "height": 9, "lines": boxes}, text)
    found = laid_out(text, pages)
    assert found.split() == text.split()
    assert [len(line.split()) for line in found.split("\n") if line] == [len(line) for line in lines if line]
    for page in pages:
        moved, places = with_layout(text, page.lines)
        assert [moved[start:end] for start, end, *_ in places] == [word for line in lines for word, _ in line]


def test_pages_of_other_texts_do_not_match() -> None:
    assert matching_pages(RECEIPT, TEXT) == pages_of(RECEIPT, TEXT)
    for page, message in ((RECEIPT, "Item"), ({"lines": []}, "width"), ([], "width")):
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
    assert [row.text[start:end] for start, end, *_ in row.pages[0].lines] == [one["text"] for one in RECEIPT["lines"]]


def test_invalid_rows_are_reported_as_without_layout(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": 5, "page": RECEIPT}, {"id": "b", "page": 1}, [1], {"id": "c", "text": "x", "page": "y"}]
    path = stored(tmp_path, "rows.jsonl", "\n".join(json.dumps(row) for row in rows).encode() + b"\n{")
    assert [(row.data, bool(row.error)) for row in read(path, layout=True)] == [
        (row.data, bool(row.error)) for row in read(path)
    ]


def test_a_pdf_has_its_layout(tmp_path: Path) -> None:
    line = "Paper) Tj 200 0 Td (2.50) Tj -200 -60 Td (Total"
    path = stored(tmp_path, "a.pdf", pdf([[line]]))
    [plain], [laid] = read(path), read(path, layout=True)
    assert plain.data["text"] == "Paper  2.50\nTotal"
    first, gap, last = laid.data["text"].split("\n")
    assert (first.split(), gap, last) == (["Paper", "2.50"], "", "Total")
    assert first.index("2.50") > 20
    assert [laid.data["text"][start:end] for start, end, *_ in laid.pages[0].lines] == ["Paper", "2.50", "Total"]
