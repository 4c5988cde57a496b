"""Which of its matches in the document is the evidence of each value. Pure.

A value of a row belongs to the line of its row, next to the places of the other values of that row: the unit of
``Letterhead, box   2   box`` is the last word.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from labeling.form.nodes import FormNode
from slmstudio.contract.json_text import dumps
from slmstudio.contract.values import evidence as finder

#: start and end in characters
Place = tuple[int, int]

#: maximum number of matches that are compared where no line is known
_MAX_COMPARED: Final = 50


@dataclass(frozen=True, slots=True)
class Matches:
    """All matches of a value in the document, in order, and by the number of their line."""

    places: list[Place]
    lines: dict[int, list[Place]]


@dataclass(slots=True)
class SoughtValue:
    """A value with its matches; ``place`` is its evidence: one of them, or what the user selected, or None."""

    path: str
    value: Any
    matches: Matches
    place: Place | None = None

    @property
    def row(self) -> str:
        """The path of its row; its own outside of lists."""
        return self.path[: self.path.rfind("]") + 1] or self.path


def find_places(
    leaves: Iterable[tuple[str, FormNode, Any]], text: str, given: Mapping[str, Any]
) -> dict[str, SoughtValue]:
    """The evidence of the values of leaves (path, node, value), by path. ``given``: the evidence from the browser."""
    search = _Search(text)
    sought = {path: SoughtValue(path, value, search.matches(value, node)) for path, node, value in leaves}
    rows: dict[str, list[SoughtValue]] = {}
    for cell in sought.values():
        cell.place = search.given_place(given.get(cell.path), cell.matches)
        if cell.place is not None:
            search.take(cell.place)
        rows.setdefault(cell.row, []).append(cell)
    for cells in rows.values():
        search.choose(cells)
    return sought


def _overlap(one: Place, other: Place) -> bool:
    return one[0] < other[1] and other[0] < one[1]


@dataclass(slots=True)
class _Search:
    """The matches of each value, and the places that are taken, by line."""

    text: str
    line_ends: list[int] = field(init=False)
    known: dict[tuple[int, str], Matches] = field(default_factory=dict)
    taken: set[Place] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.line_ends = [match.start() for match in re.finditer("\n", self.text)]

    def matches(self, value: Any, node: FormNode) -> Matches:
        """All matches of a value, cached: long tables repeat values."""
        assert node.field is not None
        key = (id(node.field), dumps(value))
        if key not in self.known:
            places = [(span.start, span.end) for span in finder.find(value, node.field, self.text, limit=None)]
            lines: dict[int, list[Place]] = {}
            for place in places:
                lines.setdefault(self.line(place), []).append(place)
            self.known[key] = Matches(places, lines)
        return self.known[key]

    def line(self, place: Place) -> int:
        """The number of its line."""
        return bisect_right(self.line_ends, place[0])

    def take(self, place: Place) -> None:
        """Takes a place, so that other values prefer others."""
        self.taken.add(place)

    def given_place(self, given: Any, matches: Matches) -> Place | None:
        """The match that the browser sent, or the one in the selection that it sent."""
        if not isinstance(given, dict):
            return None
        start, end = given.get("start"), given.get("end")
        if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(self.text):
            return None
        by_hand = given.get("by") == "hand"
        if by_hand and not matches.places:
            return start, end
        near = matches.lines.get(self.line((start, end)), [])
        if (start, end) in near:
            return start, end
        return next((match for match in near if by_hand and _overlap(match, (start, end))), None)

    def choose(self, cells: list[SoughtValue]) -> None:
        """Chooses the places of the values of a row: first of those with the fewest matches, and of longer ones."""
        rest = [cell for cell in cells if cell.place is None and cell.matches.places]
        rest.sort(key=lambda cell: (len(cell.matches.places), cell.matches.places[0][0] - cell.matches.places[0][1]))
        chosen = [cell.place for cell in cells if cell.place is not None]
        for cell in rest:
            cell.place = self._beside(cell.matches, chosen) if chosen else self._first(cell, cells)
            chosen.append(cell.place)
            self.take(cell.place)

    def _beside(self, matches: Matches, chosen: list[Place]) -> Place:
        """The match next to the places of the same row: in a line of theirs, not in one of them; else the nearest."""
        lines = {self.line(place) for place in chosen}

        def rank(place: Place) -> tuple[bool, bool, bool, int, int]:
            distance = min(abs(place[0] - other[0]) for other in chosen)
            inside = any(_overlap(place, other) for other in chosen)
            return inside, self.line(place) not in lines, place in self.taken, distance, place[0]

        near = [place for line in lines for place in matches.lines.get(line, ())]
        best = min(near, key=rank, default=None)
        if best is None or rank(best)[0]:
            best = min([*near, *matches.places[:_MAX_COMPARED]], key=rank)
        return best

    def _first(self, cell: SoughtValue, cells: list[SoughtValue]) -> Place:
        """The first match that no other value has, in the line that has the most values of the row."""
        others = [other.matches.lines for other in cells if other is not cell]

        def rank(place: Place) -> tuple[bool, int, int]:
            return place in self.taken, -sum(self.line(place) in lines for lines in others), place[0]

        return min(cell.matches.places[:_MAX_COMPARED], key=rank)
