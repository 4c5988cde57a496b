"""Where the lines of a page stand in a text that was made of them, in whatever order."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

_TOKEN = re.compile(r"\w+|[^\w\s]")
#: places that are looked at for a line, beyond as many as are wanted: a line may begin with a frequent word
_MAX_TRIES = 2_000
#: lines that are searched for letter by letter because they begin within a word
_MAX_SEARCHES = 500


class TextPlaces:
    """The places of lines in a text. Each place is taken once, by the longest line that fits there."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._taken = bytearray(len(text))
        self._searches = 0
        self._starts: dict[str, list[int]] = defaultdict(list)
        for token in _TOKEN.finditer(text):
            self._starts[token[0]].append(token.start())

    def find(self, lines: Sequence[str]) -> list[int | None]:
        """Where each line begins; None for those that have no place. Equal lines have their places in order.

        ``lines`` are in reading order, without outer white space and not empty.
        """
        found: list[int | None] = [None] * len(lines)
        equal: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            equal[line].append(number)
        for line in sorted(equal, key=len, reverse=True):
            numbers = iter(equal[line])
            for place in self._free(line, len(equal[line])):
                found[next(numbers)] = place
        return found

    def _free(self, line: str, wanted: int) -> Iterator[int]:
        """Takes up to ``wanted`` places of a line, those at word boundaries first."""
        first = _TOKEN.match(line)
        starts = self._starts.get(first[0], []) if first else []
        for place in starts[: wanted + _MAX_TRIES]:
            if not wanted:
                return
            if (
                self._text.startswith(line, place)
                and not self._splits_word(place + len(line))
                and self._take(line, place)
            ):
                wanted -= 1
                yield place
        place = 0
        while wanted and self._searches < _MAX_SEARCHES:
            self._searches += 1
            place = self._text.find(line, place)
            if place < 0:
                return
            if self._take(line, place):
                wanted -= 1
                yield place
            place += 1

    def _splits_word(self, end: int) -> bool:
        return self._text[end - 1 : end + 1].isalnum() and end < len(self._text)

    def _take(self, line: str, place: int) -> bool:
        """Longer lines are placed first, so one that overlaps covers the first or the last character."""
        if self._taken[place] or self._taken[place + len(line) - 1]:
            return False
        self._taken[place : place + len(line)] = b"\1" * len(line)
        return True
