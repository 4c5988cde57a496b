"""Where the lines of a page stand in a text that was made of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

#: characters that are searched for the lines of a text in another order; beyond it, lines have no place
MAX_WORK = 1_000_000_000
#: work of looking at a place, in characters
_PER_PLACE = 200


def find_places(text: str, lines: Sequence[str], *, max_work: int = MAX_WORK) -> list[int | None]:
    """Where each line begins in the text; None for those that have no place. Places do not overlap.

    Lines that follow each other in the text as in the list are there. Otherwise each line takes a place that is free,
    the longest lines first, rather between words than within one; equal lines take theirs in the order of the list.
    Lines are not empty.
    """
    return _in_order(text, lines) or _TextPlaces(text, max_work).find(lines)


def _in_order(text: str, lines: Sequence[str]) -> list[int | None]:
    """The places of lines that are all there in this order; else none."""
    places: list[int | None] = []
    end = 0
    for line in lines:
        place = text.find(line, end)
        if place < 0:
            return []
        places.append(place)
        end = place + len(line)
    return places


class _TextPlaces:
    """The places of a text that are taken, and the work that is left."""

    def __init__(self, text: str, max_work: int) -> None:
        self._text = text
        self._taken = bytearray(len(text))
        self._work = max_work

    def find(self, lines: Sequence[str]) -> list[int | None]:
        places: list[int | None] = [None] * len(lines)
        equal: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            equal[line].append(number)
        for line in sorted(equal, key=len, reverse=True):
            for number, place in zip(equal[line], sorted(self._free(line, len(equal[line]))), strict=False):
                places[number] = place
        return places

    def _free(self, line: str, wanted: int) -> list[int]:
        """Takes up to ``wanted`` places of a line."""
        free: list[int] = []
        within: list[int] = []
        for place in self._occurrences(line):
            if len(free) == wanted:
                break
            (within if self._splits_word(place, place + len(line)) else free).append(place)
        free += within[: wanted - len(free)]
        for place in free:
            self._taken[place : place + len(line)] = b"\1" * len(line)
        return free

    def _occurrences(self, line: str) -> Iterator[int]:
        """Places that are not taken and do not overlap. Longer lines have theirs, so an overlap is at an end."""
        end = 0
        while self._work > 0:
            place = self._text.find(line, end)
            self._work -= (place if place >= 0 else len(self._text)) - end + _PER_PLACE
            if place < 0:
                return
            end = place + 1
            if not self._taken[place] and not self._taken[place + len(line) - 1]:
                yield place
                end = place + len(line)

    def _splits_word(self, start: int, end: int) -> bool:
        around = self._text[max(0, start - 1) : start + 1], self._text[end - 1 : end + 1]
        return any(len(two) == 2 and two.isalnum() for two in around)
