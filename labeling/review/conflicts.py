"""Conflicts between the labels of a document, and the label that results from a choice for each. Pure.

Values that are equal in all labels come from the first; rows of arrays are paired by similarity. A conflict is a field
with its different values, or a row that is missing in some labels. Such a row is kept or removed as a whole, and its
cells are compared between the labels that have it.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.form.merge import MISSING, same
from labeling.review.agreement import paired_rows
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.structure import Field, Node, join
from slmstudio.contract.values.kinds.values import normalize

#: choices for a row that is missing in some labels
KEEP, LEAVE_OUT = "keep", "leave out"


@dataclass(frozen=True, slots=True)
class ValueVote:
    """A value and the numbers of the labels that have it. MISSING and null both mean absent. ``path``: its path in the
    first of these labels.
    """

    value: Any
    labels: tuple[int, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A place where labels differ. ``path`` numbers rows as they are paired, which can differ from a label's numbers.

    ``votes``: the different values, most frequent first. For a row (``is_row``): the row of each label, or MISSING.
    ``within``: the row that the value is in, if that row can be removed.
    """

    path: str
    field: Field | None
    votes: tuple[ValueVote, ...]
    is_row: bool = False
    within: str = ""


@dataclass(slots=True)
class ConflictSet:
    """The conflicts of some labels, and ``value``: the label that results from the choices (without one, from the most
    frequent value). ``sources``: path in ``value`` -> (label, path there) of values from a label. ``value_paths``: path
    of a conflict -> path in ``value``. ``rows``: path of a paired row -> the row of the first label that has it.
    """

    value: Any
    conflicts: list[Conflict] = field(default_factory=list)
    sources: dict[str, tuple[int, str]] = field(default_factory=dict)
    value_paths: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)


def resolve_conflicts(
    root: Node, labels: Sequence[Any], choices: Mapping[str, Any] | None = None, challenged: str | None = None
) -> ConflictSet:
    """Compares labels and builds the resulting one. ``choices``: path of a conflict -> its value (MISSING: absent), or
    KEEP or LEAVE_OUT for a row; other paths are ignored. ``challenged``: the path of a value that is a conflict even if
    all labels agree.
    """
    conflicts = ConflictSet(None)
    cursors = [_Cursor(number, label, "") for number, label in enumerate(labels)]
    value = _Resolver(choices or {}, conflicts, challenged).place(root, cursors, "", "", "")
    conflicts.value = {} if value is MISSING else value
    return conflicts


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The value of one label at a place, with its path in that label."""

    label: int
    value: Any
    path: str

    def at(self, name: str | int) -> "_Cursor":
        """The cursor for a child."""
        holds = isinstance(self.value, dict if isinstance(name, str) else list)
        value = MISSING
        if holds and (name in self.value if isinstance(name, str) else name < len(self.value)):
            value = self.value[name]
        return _Cursor(self.label, value, join(self.path, name))


def _is_empty(value: Any) -> bool:
    return value is MISSING or value is None


class _Resolver:
    """One walk over the schema and all labels. ``path`` counts paired rows, ``out`` the rows of the result."""

    def __init__(self, choices: Mapping[str, Any], conflicts: ConflictSet, challenged: str | None) -> None:
        self.choices, self.conflicts, self.challenged = choices, conflicts, challenged

    def place(self, node: Node | None, cursors: list[_Cursor], path: str, out: str, within: str) -> Any:
        """The value of one place of the result."""
        is_challenged = path == self.challenged and node is not None and node.field is not None
        if not is_challenged and all(_is_empty(cursor.value) for cursor in cursors):
            return None if any(cursor.value is None for cursor in cursors) else MISSING
        if node is None or node.field is not None:
            return self.leaf(node.field if node else None, cursors, path, out, within)
        if node.item is not None:
            return self.rows(node, cursors, path, out, within)
        return self.group(node, cursors, path, out, within)

    def leaf(self, field: Field | None, cursors: list[_Cursor], path: str, out: str, within: str) -> Any:
        """The chosen value, or the most frequent one."""
        votes: dict[Hashable, list[_Cursor]] = {}
        for cursor in cursors:
            meaning: Hashable = None
            if not _is_empty(cursor.value):
                meaning = dumps(cursor.value) if field is None else normalize(cursor.value, field)
            votes.setdefault(meaning, []).append(cursor)
        groups = sorted(votes.values(), key=lambda group: (-len(group), group[0].label))
        if len(groups) == 1 and path != self.challenged:
            return self.accept(groups[0][0], out)
        values = tuple(
            ValueVote(group[0].value, tuple(cursor.label for cursor in group), group[0].path) for group in groups
        )
        self.conflicts.conflicts.append(Conflict(path, field, values, within=within))
        self.conflicts.value_paths[path] = out
        if path not in self.choices:
            return self.accept(groups[0][0], out)
        choice = self.choices[path]
        giver = next((group[0] for group in groups if same(group[0].value, choice)), None)
        return choice if giver is None else self.accept(giver, out)

    def accept(self, cursor: _Cursor, out: str) -> Any:
        """A value of a label; stores where it comes from."""
        self.conflicts.sources[out] = (cursor.label, cursor.path)
        return cursor.value

    def group(self, node: Node, cursors: list[_Cursor], path: str, out: str, within: str) -> Any:
        """An object, name by name; names that the schema does not list come last."""
        extra = (
            name
            for cursor in cursors
            if isinstance(cursor.value, dict)
            for name in cursor.value
            if name not in node.children
        )
        result: dict[str, Any] = {}
        for name in dict.fromkeys([*node.children, *extra]):
            below = [cursor.at(name) for cursor in cursors]
            value = self.place(node.children.get(name), below, join(path, name), join(out, name), within)
            if value is not MISSING:
                result[name] = value
        # The group is absent in some labels, and the choices leave it empty.
        empty = all(_is_empty(value) for value in result.values())
        absent = [cursor.value for cursor in cursors if _is_empty(cursor.value)]
        return absent[0] if empty and absent else result

    def rows(self, node: Node, cursors: list[_Cursor], path: str, out: str, within: str) -> Any:
        """An array, row by row as they are paired."""
        result: list[Any] = []
        rows = [cursor.value if isinstance(cursor.value, list) else [] for cursor in cursors]
        for number, group in enumerate(paired_rows(node, rows)):
            place = join(path, number)
            owners = [cursors[index].at(row) for index, row in sorted(group.items())]
            self.conflicts.rows[place] = owners[0].value
            inside = within
            choice = KEEP
            if len(owners) < len(cursors):
                inside = place
                choice = self.optional_row(place, cursors, owners, within)
            value = self.place(node.item, owners, place, join(out, len(result)), inside)
            if choice != LEAVE_OUT and value is not MISSING:
                result.append(value)
            else:
                self.discard(join(out, len(result)))
        absent = [cursor.value for cursor in cursors if _is_empty(cursor.value)]
        return absent[0] if absent and not result else result

    def optional_row(self, place: str, cursors: list[_Cursor], owners: list[_Cursor], within: str) -> Any:
        """Whether a row that is missing in some labels is kept."""
        having = {cursor.label for cursor in owners}
        lacking = tuple(cursor.label for cursor in cursors if cursor.label not in having)
        votes = [*(ValueVote(cursor.value, (cursor.label,)) for cursor in owners), ValueVote(MISSING, lacking)]
        self.conflicts.conflicts.append(Conflict(place, None, tuple(votes), is_row=True, within=within))
        return self.choices.get(place, KEEP if len(owners) >= len(lacking) else LEAVE_OUT)

    def discard(self, out: str) -> None:
        """Removes what was stored for a row that is left out."""
        inside = (f"{out}.", f"{out}[")
        for path in [path for path in self.conflicts.sources if path == out or path.startswith(inside)]:
            del self.conflicts.sources[path]
        for path in [
            path for path, place in self.conflicts.value_paths.items() if place == out or place.startswith(inside)
        ]:
            del self.conflicts.value_paths[path]


def evidence_of(conflicts: ConflictSet, evidences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The evidence of the result: for each value from a label, the evidence in that label."""
    evidence = {}
    for path, (person, source) in conflicts.sources.items():
        if source in evidences[person]:
            evidence[path] = evidences[person][source]
    return evidence
