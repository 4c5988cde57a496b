"""One output from the outputs of all windows of a document, by the schema. Pure.

Rows of lists are joined in the order of the document. Rows of two windows are the same row where they are on the same
line of the text that both windows read: equal rows on different lines stay. A row that a window repeats is kept once.
A single value is that of the window that contains it, then of the highest confidence, then of the first window. Objects
are merged by field, maps by key.
"""

from bisect import bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.schema.structure import Field, Node, join
from slmstudio.contract.scoring.pairing import cells
from slmstudio.contract.values.evidence import is_present
from slmstudio.contract.windows.positions import locate_rows
from slmstudio.contract.windows.windows import Window

#: characters of a line that has one row
_MAX_ROW_LINE = 200
#: of a value: its lowest and mean token probability, and what an engine adds
Confidence = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class MergedOutput:
    """The output for a document as JSON text, with the confidence of its values."""

    raw: str
    confidence: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class _Part:
    """What a window says about a place: the value, and its path in the output of the window."""

    window: Window
    value: Any
    path: str
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a list. ``at``: its position in the document; None where no value of it occurs in its window."""

    part: _Part
    cells: tuple[Hashable, ...]
    at: int | None
    line: int

    @property
    def margin(self) -> int:
        """Characters to the nearest edge of its window: near an edge a row may be incomplete."""
        assert self.at is not None
        return min(self.at - self.part.window.start, self.part.window.end - self.at)


def merge_outputs(
    compiled: CompiledSchema,
    text: str,
    windows: Sequence[Window],
    outputs: Sequence[str],
    confidences: Sequence[Confidence] = (),
) -> MergedOutput:
    """The output for a document from those of its windows; where one of them is not a JSON object, that one as it is.

    Fields are in the order of a decoder. The result is not validated: it lacks a required value that no window has.
    """
    parts = []
    for number, (window, raw) in enumerate(zip(windows, outputs, strict=True)):
        try:
            value = loads(raw)
        except JsonError:
            value = None
        if not isinstance(value, dict):
            return MergedOutput(raw, {})
        parts.append(_Part(window, value, "", confidences[number] if confidences else {}))
    merger = _Merger(text)
    merged = merger.value(compiled.root, parts, "")
    return MergedOutput(dumps(compiled.ordered(merged)), merger.confidence)


class _Merger:
    def __init__(self, text: str) -> None:
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.confidence: dict[str, tuple[float, ...]] = {}

    def value(self, node: Node | None, parts: Sequence[_Part], path: str) -> Any:
        """The merged value of a place; ``path``: its path in the merged output."""
        solid = [part for part in parts if part.value is not None]
        if node is not None and node.item is not None and solid and all(isinstance(part.value, list) for part in solid):
            return self._rows(node.item, solid, path)
        if solid and all(isinstance(part.value, dict) for part in solid):
            return self._fields(node, solid, path)
        return self._choice(None if node is None else node.field, solid or parts, path)

    def _fields(self, node: Node | None, parts: Sequence[_Part], path: str) -> dict[str, Any]:
        children = {} if node is None else node.children
        names = dict.fromkeys(name for part in parts for name in part.value)
        return {
            name: self.value(
                children.get(name),
                [_inner(part, name) for part in parts if name in part.value],
                join(path, name),
            )
            for name in names
        }

    def _choice(self, field: Field | None, parts: Sequence[_Part], path: str) -> Any:
        def rank(part: _Part) -> tuple[bool, float]:
            has_evidence = field is not None and field.evidence != "none" and part.value is not None
            grounded = not has_evidence or is_present(part.value, field, part.window.text)  # type: ignore[arg-type]
            known = part.confidence.get(part.path)
            return grounded, known[1] if known else 0.0

        chosen = max(parts, key=rank)  # of equal ones the first
        self._copy_confidence(chosen, path)
        return chosen.value

    def _copy_confidence(self, part: _Part, path: str) -> None:
        for inner, known in part.confidence.items():
            if inner == part.path or inner.startswith((f"{part.path}.", f"{part.path}[")):
                self.confidence[path + inner[len(part.path) :]] = known

    # -- lists ------------------------------------------------------------------------------------------------------

    def _rows(self, item: Node, parts: Sequence[_Part], path: str) -> list[Any]:
        merged: list[_Row] = []
        end, is_in_order = 0, True
        for part in parts:
            rows = self._located(item, part)
            known = [row.at for row in rows if row.at is not None]
            is_in_order = is_in_order and known == sorted(known)
            merged = _joined(merged, rows, part.window.start, end)
            end = part.window.end
        if is_in_order:
            merged = _in_document_order(merged)
        for number, row in enumerate(merged):
            self._copy_confidence(row.part, f"{path}[{number}]")
        return [row.part.value for row in merged]

    def _located(self, item: Node, part: _Part) -> list[_Row]:
        rows: list[_Row] = []
        for number, position in enumerate(locate_rows(item, part.value, part.window.text)):
            at = None if position is None else part.window.start + position.at
            line = -1 if at is None else bisect_right(self._starts, at)
            row = _Row(_inner(part, number), cells(item, part.value[number]), at, line)
            if not self._is_repeated(row, rows):
                rows.append(row)
        return rows

    def _is_repeated(self, row: _Row, before: Sequence[_Row]) -> bool:
        """Whether a window has a row again that its text has once: equal rows are on different lines as long as there
        are some. A long line can have several equal rows.
        """
        if row.at is None or self._starts[row.line] - self._starts[row.line - 1] > _MAX_ROW_LINE:
            return False
        return any(earlier.line == row.line and earlier.cells == row.cells for earlier in before)


def _inner(part: _Part, name: str | int) -> _Part:
    return replace(part, value=part.value[name], path=join(part.path, name))


def _joined(before: list[_Row], rows: list[_Row], start: int, end: int) -> list[_Row]:
    """The rows of earlier windows with those of the next one, each row of the overlap once: from ``start`` to ``end``
    of the document.
    """
    joined = list(before)
    open_places: dict[int, list[int]] = {}
    for place, row in enumerate(before):
        if row.at is None or row.at >= start:
            open_places.setdefault(row.line, []).append(place)
    left: list[_Row] = []
    for row in rows:  # first the equal ones
        places = open_places.get(row.line, []) if row.at is None or row.at < end else []
        equal = next((place for place in places if before[place].cells == row.cells), None)
        if equal is None:
            left.append(row)
            continue
        places.remove(equal)
        joined[equal] = _better(before[equal], row)
    for row in left:  # then those that the windows read differently
        places = open_places.get(row.line, []) if row.at is not None and row.at < end else []
        if places:
            place = places.pop(0)
            joined[place] = _better(before[place], row)
        else:
            joined.append(row)
    return joined


def _better(one: _Row, other: _Row) -> _Row:
    """Of two readings of a row the one that is further from the edge of its window."""
    return other if one.at is not None and other.at is not None and other.margin > one.margin else one


def _in_document_order(rows: list[_Row]) -> list[_Row]:
    """Rows without a position stay behind the row before them."""
    before, keys = -1, []
    for row in rows:
        before = before if row.at is None else row.at
        keys.append(before)
    return [rows[number] for number in sorted(range(len(rows)), key=keys.__getitem__)]
