"""Texts with the layout of their pages: blanks that keep columns below each other, and blank lines for gaps.

A model sees then what stands next to what, and what is apart. Only white space differs from the text in reading order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final, Self

from labeling.imports.formats.base import Context, Option
from labeling.imports.formats.page_text import ReadPage, pages_of
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


def with_layout(text: str, boxes: Sequence[Box]) -> tuple[str, list[list[int]]]:
    """The text of a page with its layout, and the boxes with their places in it.

    ``boxes`` are in the order of the text. A box begins in the column of its left side, counted in letters of the
    median width; two boxes of a line keep at least the blanks that were between them.
    """
    grid = _Grid.of(boxes)
    if grid is None:
        return text, [list(box) for box in boxes]
    written: list[str] = []
    moved: list[list[int]] = []
    length, bottom = 0, None
    for start, end, own in _lines(text, boxes):
        if own:
            if bottom is not None and min(box[3] for box in own) - bottom > grid.gap:
                written.append("")
                length += 1
            bottom = max(box[5] for box in own)
        line, places = grid.line(text, start, end, own)
        moved += [[length + begin, length + stop, *box[2:]] for (begin, stop), box in zip(places, own, strict=True)]
        written.append(line)
        length += len(line) + 1
    return "\n".join(written), moved


def _lines(text: str, boxes: Sequence[Box]) -> Iterator[tuple[int, int, list[Box]]]:
    """Start and end of each line, and its boxes."""
    start = at = 0
    for line in text.split("\n"):
        end, first = start + len(line), at
        while at < len(boxes) and boxes[at][1] <= end:
            at += 1
        yield start, end, list(boxes[first:at])
        start = end + 1


@dataclass(frozen=True)
class _Grid:
    """Columns as wide as a letter, from the left side of the first box; ``gap`` is that of a blank line."""

    margin: int
    letter: float
    gap: float

    @classmethod
    def of(cls, boxes: Sequence[Box]) -> Self | None:
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

    def line(self, text: str, start: int, end: int, boxes: Sequence[Box]) -> tuple[str, list[tuple[int, int]]]:
        """A line of a text with its layout, and the place of each of its boxes in it."""
        line = ""
        places = []
        at = start
        for box in boxes:
            between = text[at : box[0]]
            if between.strip():  # text without a box
                line += between if line else between.lstrip()
            else:
                column = round((box[2] - self.margin) / self.letter)
                line += " " * max(column - len(line), len(between) if line else 0)
            begin = len(line)
            line += text[box[0] : box[1]]
            places.append((begin, len(line)))
            at = box[1]
        return (line + text[at:end]).rstrip(), places


def laid_out(text: str, pages: Iterable[ReadPage]) -> str:
    """A text of several pages with their layout."""
    parts = []
    for page in pages:
        own = [[start - page.start, end - page.start, *box] for start, end, *box in page.lines]
        parts.append(with_layout(text[page.start : page.end], own)[0])
    return "".join(parts) or text


def laid_out_rows(rows: Iterable[ParsedRow], context: Context) -> Iterator[ParsedRow]:
    """The rows of a file; texts that come with the boxes of their pages have their layout where the user chose it."""
    for row in rows:
        yield _laid_out(row) if context.options.get(LAYOUT.name) else row


def _laid_out(row: ParsedRow) -> ParsedRow:
    data: Any = row.data
    if row.error or not isinstance(data, dict) or "page" not in data or not isinstance(data.get("text"), str):
        return row
    return replace(row, data={**data, "text": laid_out(data["text"], pages_of(data["page"], data["text"]))})
