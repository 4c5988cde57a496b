"""Three-way merge of JSON values, field by field: two people changed the same document, and nothing is lost.

Objects are merged key by key, arrays row by row. A row is the same row where it is unchanged on one side; rows that one
side added or removed are added and removed. Where both sides changed the same field to different values, ``mine`` stays
and the other value is reported; what one side changed and the other took away stays.
"""

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final

from slmstudio.contract.jsontext import dumps
from slmstudio.contract.structure import join, split


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True, slots=True)
class Clash:
    """Both sides changed ``path``. ``theirs`` is their value, or MISSING where they took it away."""

    path: str
    theirs: Any


@dataclass(slots=True)
class Merged:
    """``taken``: paths where the result has their change instead of mine; ``clashes``: where mine stayed."""

    value: Any
    taken: list[str] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)


def merge(base: Any, mine: Any, theirs: Any) -> Merged:
    """What both sides made of ``base``, together. A value may be MISSING."""
    merged = Merged(None)
    merged.value = _merge(base, mine, theirs, "", merged)
    return merged


def value_at(value: Any, path: str) -> Any:
    """What stands at a path ("line_items[3].amount"), or MISSING."""
    for step in split(path):
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else MISSING
        else:
            value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
    return value


def same(one: Any, other: Any) -> bool:
    """Equal to the digit (1.50 is not 1.5), whatever the order of names."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if one is MISSING or other is MISSING:
        return one is other
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return False
    return dumps(one) == dumps(other)


def _merge(base: Any, mine: Any, theirs: Any, path: str, merged: Merged) -> Any:
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
    merged.clashes.append(Clash(path, theirs))
    return mine


def _merge_objects(
    base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any], path: str, merged: Merged
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
    """What one side did to the rows of the base: ``kept[i]`` is its row for base row i (MISSING: removed)."""

    kept: list[Any]
    added: list[list[Any]]


def _edits(base: list[Any], side: list[Any]) -> _Edits:
    kept: list[Any] = [MISSING] * len(base)
    added: list[list[Any]] = [[] for _ in range(len(base) + 1)]
    if len(base) == len(side):
        return _Edits(list(side), added)
    matcher = SequenceMatcher(None, [dumps(row) for row in base], [dumps(row) for row in side], autojunk=False)
    for tag, low, high, start, end in matcher.get_opcodes():
        pairs = min(high - low, end - start) if tag in ("equal", "replace") else 0
        for offset in range(pairs):
            kept[low + offset] = side[start + offset]
        added[low + pairs].extend(side[start + pairs : end])
    return _Edits(kept, added)


def _merge_arrays(base: list[Any], mine: list[Any], theirs: list[Any], path: str, merged: Merged) -> list[Any]:
    my, their = _edits(base, mine), _edits(base, theirs)
    result: list[Any] = []
    if len(mine) == len(theirs) == len(base):
        return [
            _merge(*rows, join(path, number), merged)
            for number, rows in enumerate(zip(base, mine, theirs, strict=True))
        ]
    merged.taken.append(path)
    for number in range(len(base) + 1):
        result.extend(my.added[number])
        result.extend(row for row in their.added[number] if not any(same(row, own) for own in my.added[number]))
        if number < len(base):
            row = _merge(base[number], my.kept[number], their.kept[number], join(path, len(result)), merged)
            if row is not MISSING:
                result.append(row)
    return result
