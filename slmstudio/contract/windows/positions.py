"""Where the rows of a list are in a text, by the evidence of their values. Pure."""

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.structure import Field, Node
from slmstudio.contract.values.evidence import Span, find

#: a value this many lines from the line of its row belongs to it; one further away is shared by several rows
MAX_LINES_AWAY = 2
#: share of the characters of a text that an occurrence of all of it has at least
_MIN_WHOLE_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Position:
    """Of a row: ``at``, where its rarest value on its line begins, and the extent of all values around that line."""

    at: int
    start: int
    end: int


#: a line; of running text without line ends about 200 characters
_LINE = re.compile(r"[^\n]{1,200}\S*[^\S\n]*\n?|\n")
#: line -> start and end of the first occurrence that begins on it
Occurrences = dict[int, tuple[int, int]]


class _Lines:
    """A text by lines, with the occurrences of values by line."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [match.start() for match in _LINE.finditer(text)] or [0]
        self._known: dict[tuple[str, str], list[Occurrences]] = {}

    def line_of(self, offset: int) -> int:
        return bisect_right(self._starts, offset) - 1

    def occurrences(self, value: Any, field: Field) -> list[Occurrences]:
        """Those of a value; of one that is only there in pieces, as over two lines, those of each piece."""
        key = (field.pattern, dumps(value))
        if key not in self._known:
            spans = find(value, field, self._text, limit=None)
            pieces = {span.text for span in spans} if _is_in_pieces(value, field, spans) else ()
            parts = [find(piece, field, self._text, limit=None) for piece in sorted(pieces)] or [spans]
            self._known[key] = [self._by_line(part) for part in parts if part]
        return self._known[key]

    def _by_line(self, spans: Sequence[Span]) -> Occurrences:
        by_line: Occurrences = {}
        for span in spans:
            by_line.setdefault(self.line_of(span.start), (span.start, span.end))
        return by_line

    def weight(self, occurrences: Occurrences) -> float:
        """How much an occurrence says about a row: 1 for a value on one line, near 0 for one on all lines."""
        lines = len(self._starts) + 1
        return math.log(1 + lines / len(occurrences)) / math.log(1 + lines)


def locate_rows(item: Node, rows: Sequence[Any], text: str) -> list[Position | None]:
    """The position of each row of a list, ``item`` being the schema of a row; None where none of its values occurs.

    A row is on the line with most of its values, where a value on few lines counts more. Of equally good lines it is
    the next one after the row before, and equal rows are on different lines as long as there are some.
    """
    lines = _Lines(text)
    positions: list[Position | None] = []
    taken: defaultdict[str, set[int]] = defaultdict(set)
    before = -1
    for row in rows:
        hits = [hit for value, field in _values(item, row) for hit in lines.occurrences(value, field)]
        if not hits:
            positions.append(None)
            continue
        scores: Counter[int] = Counter()
        for hit in hits:
            weight = lines.weight(hit)
            for line in hit:
                scores[line] += weight  # type: ignore[assignment]
        top = max(scores.values()) - 1e-9
        best = sorted(line for line, score in scores.items() if score >= top)
        used = taken[dumps(row)]
        free = [line for line in best if line not in used]
        line = next((line for line in free if line >= before), (free or best)[0])
        used.add(line)
        before = line
        positions.append(_position(line, hits))
    return positions


def _position(line: int, hits: list[Occurrences]) -> Position:
    rarest = min((hit for hit in hits if line in hit), key=len)
    near = []
    for hit in hits:
        nearest = min(hit, key=lambda other: (abs(other - line), other < line))
        if abs(nearest - line) <= MAX_LINES_AWAY:
            near.append(hit[nearest])
    return Position(rarest[line][0], min(start for start, _ in near), max(end for _, end in near))


def _is_in_pieces(value: Any, field: Field, spans: Sequence[Span]) -> bool:
    if not isinstance(value, str) or len(spans) < 2 or field.kind != "text":
        return False
    longest = max(len("".join(span.text.split())) for span in spans)
    return longest < _MIN_WHOLE_SHARE * len("".join(value.split()))


def _values(node: Node, value: Any) -> Iterator[tuple[Any, Field]]:
    """The values of a row that should occur in the document."""
    if node.field is not None:
        if value is not None and node.field.evidence != "none":
            yield value, node.field
    elif isinstance(value, list) and node.item is not None:
        for inner in value:
            yield from _values(node.item, inner)
    elif isinstance(value, dict):
        for name, child in node.children.items():
            yield from _values(child, value.get(name))
