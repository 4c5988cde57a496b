"""Three-way merge of JSON values, field by field, of two users' changes to the same document.

Objects are merged key by key, arrays row by row. Rows are matched where one side left them unchanged; rows that one
side added or removed are added and removed. Where both sides changed a field to different values, ``mine`` stays and
the other value is reported. A value that one side changed and the other removed stays.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.structure import join, split

#: no value: a name or a row that a side does not have
MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Both sides changed ``path``. ``theirs`` is their value, or MISSING if they removed it."""

    path: str
    theirs: Any


@dataclass(slots=True)
class MergeResult:
    """``taken``: paths where the result has their change; ``conflicts``: where mine stayed."""

    value: Any
    taken: list[str] = field(default_factory=list)
    conflicts: list[MergeConflict] = field(default_factory=list)


def merge(base: Any, mine: Any, theirs: Any) -> MergeResult:
    """Merges both sides' changes of ``base``. A value can be MISSING."""
    merged = MergeResult(None)
    merged.value = _merge(base, mine, theirs, "", merged)
    return merged


def value_at(value: Any, path: str) -> Any:
    """The value at a path ("line_items[3].amount"), or MISSING."""
    for step in split(path):
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else MISSING
        else:
            value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
    return value


def same(value: Any, other: Any) -> bool:
    """Equal to the digit (1.50 is not 1.5), in any order of names."""
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(same(value[name], other[name]) for name in value)
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(same, value, other))
    if value is MISSING or other is MISSING:
        return value is other
    if isinstance(value, dict | list) or isinstance(other, dict | list):
        return False
    return dumps(value) == dumps(other)


def _merge(base: Any, mine: Any, theirs: Any, path: str, merged: MergeResult) -> Any:
    if same(mine, theirs) or same(base, theirs):
        return mine
    if same(base, mine):
        merged.taken.append(path)
        return theirs
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return _merge_objects(base if isinstance(base, dict) else {}, mine, theirs, path, merged)
    if isinstance(base, list) and isinstance(mine, list) and isinstance(theirs, list):
        return _merge_arrays(base, mine, theirs, path, merged)
    if mine is MISSING:
        merged.taken.append(path)
        return theirs
    merged.conflicts.append(MergeConflict(path, theirs))
    return mine


def _merge_objects(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], path: str, merged: MergeResult
) -> dict[str, Any]:
    result = {}
    for name in dict.fromkeys([*mine, *theirs]):
        value = _merge(
            base.get(name, MISSING), mine.get(name, MISSING), theirs.get(name, MISSING), join(path, name), merged
        )
        if value is not MISSING:
            result[name] = value
    return result


@dataclass(slots=True)
class _Edits:
    """The changes of one side: ``kept[i]`` is its row for base row i (MISSING: removed), ``added[i]`` its new rows
    before it.
    """

    kept: list[Any]
    added: list[list[Any]]

    @property
    def moved(self) -> bool:
        """Whether rows were added or removed."""
        return any(self.added) or any(row is MISSING for row in self.kept)


def _edits(base: list[Any], side: list[Any]) -> _Edits:
    kept: list[Any] = [MISSING] * len(base)
    added: list[list[Any]] = [[] for _ in range(len(base) + 1)]
    low = start = 0
    for high, end in [*_align_rows(base, side), (len(base), len(side))]:
        pairs = min(high - low, end - start)
        for offset in range(pairs):
            kept[low + offset] = side[start + offset]
        added[low + pairs].extend(side[start + pairs : end])
        if high < len(base):
            kept[high] = side[end]
        low, start = high + 1, end + 1
    return _Edits(kept, added)


def _align_rows(base: list[Any], side: list[Any]) -> list[tuple[int, int]]:
    """Pairs of unchanged rows of the base and a side, in order. With an equal number of rows, each is matched in place,
    unless more rows match at other places: one row was removed and another added.

    Takes n log n steps: equal rows are numbered, so the longest common subsequence is the longest increasing sequence
    of their places.
    """
    before, after = [_key(row) for row in base], [_key(row) for row in side]
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    places = {key: place for place, key in enumerate(_numbered(after[head : len(after) - tail]), head)}
    numbered = enumerate(_numbered(before[head : len(before) - tail]), head)
    middle = _longest_increasing([(place, places[key]) for place, key in numbered if key in places])
    if len(before) == len(after):
        still = [(place, place) for place in range(head, len(before) - tail) if before[place] == after[place]]
        middle = middle if len(middle) > len(still) else still
    ends = zip(range(len(before) - tail, len(before)), range(len(after) - tail, len(after)), strict=True)
    return [*((place, place) for place in range(head)), *middle, *ends]


def _numbered(keys: list[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    numbered = []
    for key in keys:
        numbered.append((key, seen[key]))
        seen[key] += 1
    return numbered


def _longest_increasing(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence in which both numbers increase (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, second) in enumerate(pairs):
        pile = bisect_left(tops, second)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1], ends[pile : pile + 1] = [second], [number]
    longest = []
    number = ends[-1] if ends else -1
    while number >= 0:
        longest.append(pairs[number])
        number = before[number]
    return longest[::-1]


def _key(row: Any) -> str:
    """Equal for rows that are ``same``."""
    return dumps(_sorted(row))


def _sorted(value: Any) -> Any:
    """With names sorted: the database changes their order."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(inner) for inner in value] if isinstance(value, list) else value


def _merge_arrays(base: list[Any], mine: list[Any], theirs: list[Any], path: str, merged: MergeResult) -> list[Any]:
    my, their = _edits(base, mine), _edits(base, theirs)
    result: list[Any] = []
    if not my.moved and not their.moved:
        return [
            _merge(*rows, join(path, number), merged)
            for number, rows in enumerate(zip(base, my.kept, their.kept, strict=True))
        ]
    merged.taken.append(path)
    for number in range(len(base) + 1):
        result.extend(my.added[number])
        if their.added[number]:
            own = {_key(row) for row in my.added[number]}
            result.extend(row for row in their.added[number] if _key(row) not in own)
        if number < len(base):
            row = _merge(base[number], my.kept[number], their.kept[number], join(path, len(result)), merged)
            if row is not MISSING:
                result.append(row)
    return result
