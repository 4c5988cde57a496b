"""Texts with the layout of their pages: blanks that keep columns below each other, and blank lines for gaps.

A model sees then what stands next to what, and what is apart. Only white space differs from the text in reading order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Self

from labeling.imports.formats.base import Context, Option
from labeling.imports.formats.page_text import ReadPage, matching_pages
from labeling.imports.rows import ParsedRow

#: for PDFs and images, and for rows with the boxes of their pages
LAYOUT: Final = Option(
    "layout",
    "Layout of pages",
    {False: "Lines in reading order", True: "Columns and gaps as on the page"},
)
#: lines that are farther apart than this many times the height of a box have a blank line between them
_GAP: Final = 0.9
#: shorter texts say little about the width of a letter
_MIN_MEASURED: Final = 4
#: a page has at most so many columns; on a wider one, letters count as wider
_MAX_COLUMNS: Final = 200
#: as in ``ReadPage``: start and end in the text, left, top, right and bottom on the page
Box = Sequence[int]


@dataclass(frozen=True)
class _Grid:
    """Columns of a page, as wide as a letter, from the left side of its first box; ``gap`` is that of a blank line."""

    margin: int
    letter: float
    gap: float

    @classmethod
    def from_boxes(cls, boxes: Sequence[Box]) -> Self | None:
        """None where the boxes say nothing about the size of letters."""
        widths = [
            (right - left) / (end - start) for start, end, left, _, right, _ in boxes if end - start >= _MIN_MEASURED
        ]
        letter = median(widths) if widths else 0.0
        if letter <= 0:
            return None
        margin = min(box[2] for box in boxes)
        widest = max(box[2] for box in boxes) - margin
        return cls(margin, max(letter, widest / _MAX_COLUMNS), _GAP * median(box[5] - box[3] for box in boxes))

    def column(self, box: Box) -> int:
        """The column in which a box begins."""
        return round((box[2] - self.margin) / self.letter)


def laid_out(text: str, pages: Sequence[ReadPage]) -> tuple[str, tuple[ReadPage, ...]]:
    """A text with the layout of its pages, and the pages with the places of their boxes in it.

    Boxes are in the order of the text. A box begins in the column of its left side, counted in letters of the median
    width; two boxes of a line keep at least the white space that was between them, and boxes without any stay together.
    """
    grids = [_Grid.from_boxes(page.lines) for page in pages]
    places = sorted(
        ((number, box) for number, page in enumerate(pages) for box in page.lines), key=lambda place: place[1][0]
    )
    moved: list[list[list[int]]] = [[] for _ in pages]
    written: list[str] = []
    length, above = 0, (-1, 0)  # the page and the lower side of the last line with boxes
    for start, end, own in _lines(text, places):
        if own:
            number, (_, _, _, top, _, bottom) = own[0][0], _around([box for _, box in own])
            grid = grids[number]
            is_apart = above[0] == number and grid is not None and top - above[1] > grid.gap
            if is_apart and written[-1]:
                written.append("")
                length += 1
            above = (number, bottom)
        line = ""
        at = start
        for number, box in own:
            between = text[at : box[0]]
            grid = grids[number]
            if grid is not None and not between.strip() and (between or not line):
                between = " " * max(grid.column(box) - len(line), len(between) if line else 0)
            line += between
            moved[number].append([length + len(line), length + len(line) + box[1] - box[0], *box[2:]])
            line += text[box[0] : box[1]]
            at = box[1]
        written.append((line + text[at:end]).rstrip())
        length += len(written[-1]) + 1
    whole = "\n".join(written)
    return whole, tuple(_with_places(pages, moved, whole))


def _lines(text: str, places: Sequence[tuple[int, Box]]) -> Iterator[tuple[int, int, list[tuple[int, Box]]]]:
    """Start and end of each line, and its boxes, each with the number of its page."""
    start = at = 0
    for line in text.split("\n"):
        end, first = start + len(line), at
        while at < len(places) and places[at][1][1] <= end:
            at += 1
        yield start, end, list(places[first:at])
        start = end + 1


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box around several."""
    return [min(box[side] for box in boxes) for side in range(4)] + [max(box[side] for box in boxes) for side in (4, 5)]


def _with_places(pages: Sequence[ReadPage], moved: Sequence[list[list[int]]], text: str) -> Iterator[ReadPage]:
    """The pages with other places of their boxes: from the line of their first box to the end of the last one."""
    end = 0
    for number, (page, boxes) in enumerate(zip(pages, moved, strict=True)):
        start = max(end, text.rfind("\n", 0, boxes[0][0]) + 1) if boxes and number else end
        end = len(text) if number == len(pages) - 1 else max([start, *(box[1] for box in boxes)])
        yield replace(page, start=start, end=end, lines=boxes)


def laid_out_rows(rows: Iterable[ParsedRow], context: Context) -> Iterator[ParsedRow]:
    """The rows of a file; texts that come with the boxes of their pages have their layout where the user chose it."""
    for row in rows:
        yield _laid_out(row) if context.options.get(LAYOUT.name) else row


def _laid_out(row: ParsedRow) -> ParsedRow:
    data: Any = row.data
    if row.error or not isinstance(data, dict) or data.get("page") is None or not isinstance(data.get("text"), str):
        return row
    try:
        text, pages = laid_out(data["text"], matching_pages(data["page"], data["text"]))
    except ValueError as error:
        return replace(row, error=f'"page": {error}')
    rest = {name: value for name, value in data.items() if name != "page"}
    return replace(row, data={**rest, "text": text}, pages=pages)
