"""Pages: text boxes in reading order become text, and every box has its offsets in that text."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from labeling.imports.formats.text_places import find_places

#: separates the boxes of a line, so columns differ from words
COLUMN = "  "
PAGE_BREAK = "\n\n"
MAX_PAGES = 500
MAX_SIDE = 100_000
MAX_BOXES = 20_000
#: two boxes are on one line if they share this part of the height of the lower one, and less than this of the width
_MIN_SHARED_HEIGHT = 0.5
_MAX_SHARED_WIDTH = 0.3


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a line, and its box in pixels of the page's image."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """Of the box."""
        return self.bottom - self.top

    @property
    def middle(self) -> float:
        """Half-way down the box."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True, slots=True)
class ReadPage:
    """One page: ``start`` and ``end`` in the document's text, ``lines`` as ``labeling.models.Page`` stores them.

    ``image`` is a file with its image, None if there are only boxes.
    """

    number: int
    width: int
    height: int
    start: int
    end: int
    lines: list[list[int]] = field(default_factory=list)
    image: Path | None = None


@dataclass(slots=True)
class _Line:
    """Boxes of one line, while they are collected."""

    segments: list[Segment]

    def accepts(self, segment: Segment) -> bool:
        """Whether a box continues this line: next to its nearest box, and above or below none."""
        for other in self.segments:
            shared = min(other.right, segment.right) - max(other.left, segment.left)
            if shared > _MAX_SHARED_WIDTH * min(other.right - other.left, segment.right - segment.left):
                return False
        near = min(self.segments, key=lambda other: max(segment.left - other.right, other.left - segment.right))
        shared = min(near.bottom, segment.bottom) - max(near.top, segment.top)
        return shared >= _MIN_SHARED_HEIGHT * min(near.height, segment.height)

    @property
    def middle(self) -> float:
        return sum(segment.middle for segment in self.segments) / len(self.segments)


def in_reading_order(segments: Iterable[Segment]) -> list[list[Segment]]:
    """Lines from top to bottom, each with its boxes from left to right; the page may be slightly rotated."""
    lines: list[_Line] = []
    for segment in sorted(segments, key=lambda each: each.middle):
        # Only the last few lines can be at its height.
        line = next((line for line in reversed(lines[-12:]) if line.accepts(segment)), None)
        if line is None:
            lines.append(_Line([segment]))
        else:
            line.segments.append(segment)
    lines.sort(key=lambda line: line.middle)
    return [sorted(line.segments, key=lambda each: each.left) for line in lines]


def text_of(segments: Iterable[Segment]) -> tuple[str, list[list[int]]]:
    """The text of a page, and for every box ``[start, end, left, top, right, bottom]`` in it."""
    parts: list[str] = []
    lines: list[list[int]] = []
    length = 0
    for line in in_reading_order(segments):
        if parts:
            parts.append("\n")
            length += 1
        for number, segment in enumerate(line):
            if number:
                parts.append(COLUMN)
                length += len(COLUMN)
            end = length + len(segment.text)
            box = (segment.left, segment.top, segment.right, segment.bottom)
            lines.append([length, end, *(max(0, round(side)) for side in box)])
            parts.append(segment.text)
            length = end
    return "".join(parts), lines


def join_pages(pages: Iterable[tuple[str, ReadPage]]) -> tuple[str, tuple[ReadPage, ...]]:
    """The text of a document of several pages, and its pages with their offsets in it.

    Takes (text of the page, page with offsets in that text).
    """
    text = ""
    placed = []
    for own, page in pages:
        shift = len(text) + (len(PAGE_BREAK) if text and own else 0)
        text = f"{text}{PAGE_BREAK}{own}" if text and own else text + own
        lines = [[start + shift, end + shift, *box] for start, end, *box in page.lines]
        placed.append(replace(page, start=shift, end=shift + len(own), lines=lines))
    return text, tuple(placed)


def pages_of(value: Any, text: str) -> tuple[ReadPage, ...]:
    """The pages in a row: ``{"width", "height", "lines": [{"text", "bbox"}]}``, or a list of these.

    Lines are searched for in the text (``find_places``); those that are not found are ignored. Empty if the value is
    something else.
    """
    listed = _pages_in(value)
    return _placed(listed, text, lambda line: None) if listed else ()


def matching_pages(value: Any, text: str) -> tuple[ReadPage, ...]:
    """As ``pages_of``, where all lines must be in the text.

    Raises:
        ValueError: the value is something else, has too many lines, or one that is not in the text.
    """
    if _line_count(value) > MAX_BOXES:
        raise ValueError(f"it has more than {MAX_BOXES:,} lines")
    listed = _pages_in(value)
    if not listed:
        raise ValueError('it must have "width", "height" and "lines", each with "text" and "bbox" of four positions')

    def reject(line: str) -> None:
        raise ValueError(f"the line {line[:60]!r} is not in the text, or occurs more often than in the text")

    return _placed(listed, text, reject)


def _line_count(value: Any) -> int:
    """The lines of the boxes in pages, whatever else they are."""
    pages = value if isinstance(value, list) else [value]
    listed = [page["lines"] for page in pages if isinstance(page, dict) and isinstance(page.get("lines"), list)]
    return sum(
        1 + (line["text"].count("\n") if isinstance(line, dict) and isinstance(line.get("text"), str) else 0)
        for lines in listed
        for line in lines
    )


def _pages_in(value: Any) -> list[dict[str, Any]]:
    listed = value if isinstance(value, list) else [value]
    return listed if 0 < len(listed) <= MAX_PAGES and all(_is_page(page) for page in listed) else []


def _placed(listed: list[dict[str, Any]], text: str, missing: Callable[[str], None]) -> tuple[ReadPage, ...]:
    """The pages with the places of their lines in the text; ``missing`` gets each line that is not found."""
    numbered = [(number, segment) for number, page in enumerate(listed) for segment in _single_lines(page["lines"])]
    lines: list[list[list[int]]] = [[] for _ in listed]
    places = find_places(text, [segment.text for _, segment in numbered])
    for (number, segment), place in zip(numbered, places, strict=True):
        if place is None:
            missing(segment.text)
            continue
        sides = (segment.left, segment.top, segment.right, segment.bottom)
        lines[number].append([place, place + len(segment.text), *map(round, sides)])
    pages = []
    start = 0
    for number, page in enumerate(listed):
        own = sorted(lines[number])
        end = len(text) if number == len(listed) - 1 else max([start, *(line[1] for line in own)])
        pages.append(ReadPage(number + 1, round(page["width"]), round(page["height"]), start, end, own))
        start = end
    return tuple(pages)


def _single_lines(lines: Iterable[dict[str, Any]]) -> Iterator[Segment]:
    """Up to ``MAX_BOXES`` texts without line breaks and outer white space: a box of several lines is divided."""
    return islice((part for line in lines for part in _divided(line)), MAX_BOXES)


def _divided(line: dict[str, Any]) -> Iterator[Segment]:
    parts = line["text"].split("\n")
    left, top, right, bottom = (float(side) for side in line["bbox"])
    height = (bottom - top) / len(parts)
    for number, part in enumerate(parts):
        if part.strip():
            yield Segment(part.strip(), left, top + number * height, right, top + (number + 1) * height)


def _is_page(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_is_length(value.get(side)) and value[side] > 0 for side in ("width", "height"))
        and isinstance(value.get("lines"), list)
        and all(_is_line(line) for line in value["lines"])
    )


def _is_line(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        return False
    box = value.get("bbox")
    return isinstance(box, list) and len(box) == 4 and all(_is_length(side) for side in box)


def _is_length(value: Any) -> bool:
    from decimal import Decimal

    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and 0 <= value <= MAX_SIDE
