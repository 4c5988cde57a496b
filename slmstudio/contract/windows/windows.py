"""Windows of a text: parts that overlap by some lines, each within a number of tokens. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: of one document; a longer one is rejected
MAX_WINDOWS = 500
#: lines that a window shares with the one before, where they take at most a quarter of it
OVERLAP_LINES = 3
_MAX_OVERLAP_SHARE = 0.25
#: a line longer than this share of a window is cut between two words
_MAX_LINE_SHARE = 0.125
#: how full a window is before it may end at a page or a paragraph
_MIN_FILLED_SHARE = 0.5

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a document: ``text`` is ``document[start:end]``."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    tokens: int
    is_blank: bool
    ends_page: bool


def split_windows(text: str, *, limit: int, count: Count) -> list[Window]:
    """The windows of a text, in order; one with all of it where it fits.

    ``limit``: tokens of a window; ``count``: the tokens of a text. A window ends at a form feed, else at a blank line
    (between paragraphs, and between the pages of an imported PDF), else at the end of a line. The last lines of a
    window are also the first ones of the next, so that a row over several lines is complete in one of them.

    Raises:
        ValueError: the limit is not positive.
    """
    if limit < 1:
        raise ValueError("a window has at least one token")
    if count(text) <= limit:
        return [Window(0, len(text), text)]
    lines = list(_lines(text, max(1, int(limit * _MAX_LINE_SHARE)), count))
    windows: list[Window] = []
    first = 0
    while True:
        last = _last_line(text, lines, first, limit, count)
        start, end = lines[first].start, lines[last].end
        windows.append(Window(start, end, text[start:end]))
        if last + 1 == len(lines):
            return windows
        first = max(first + 1, _overlap(lines, last, limit))


def _lines(text: str, limit: int, count: Count) -> Iterator[_Line]:
    start = 0
    for line in text.splitlines(keepends=True):
        for piece, tokens in _pieces(line, limit, count):
            end = start + len(piece)
            yield _Line(start, end, tokens, not piece.strip(), piece.endswith("\f"))
            start = end


def _pieces(line: str, limit: int, count: Count) -> Iterator[tuple[str, int]]:
    """A line in pieces of at most ``limit`` tokens, cut before a word where it has several."""
    tokens = count(line)
    if len(line) < 2 or tokens <= limit:
        yield line, tokens
        return
    middle = len(line) // 2
    cut = line.rfind(" ", 1, middle) + 1 or line.find(" ", middle) + 1 or middle
    if cut == len(line):
        cut = middle
    yield from _pieces(line[:cut], limit, count)
    yield from _pieces(line[cut:], limit, count)


def _last_line(text: str, lines: list[_Line], first: int, limit: int, count: Count) -> int:
    """The last line of the window that starts with a line; at least that line."""
    last, tokens, filled = first, lines[first].tokens, [lines[first].tokens]
    while last + 1 < len(lines) and tokens + lines[last + 1].tokens <= limit:
        last += 1
        tokens += lines[last].tokens
        filled.append(tokens)
    # Tokens of a text can be more than those of its lines.
    while last > first and count(text[lines[first].start : lines[last].end]) > limit:
        last -= 1
    if last + 1 == len(lines):
        return last
    enough = range(last, first - 1, -1)
    enough_filled = [at for at in enough if filled[at - first] >= _MIN_FILLED_SHARE * limit]
    page = next((at for at in enough_filled if lines[at].ends_page), None)
    blank = next((at for at in enough_filled if lines[at].is_blank), None)
    return page if page is not None else blank if blank is not None else last


def _overlap(lines: list[_Line], last: int, limit: int) -> int:
    """The first line of the window after the one that ends with ``last``."""
    first, tokens, shared = last + 1, 0, 0
    for at in range(last, -1, -1):
        tokens += lines[at].tokens
        shared += not lines[at].is_blank
        if tokens > _MAX_OVERLAP_SHARE * limit or shared > OVERLAP_LINES:
            break
        first = at
    return first
