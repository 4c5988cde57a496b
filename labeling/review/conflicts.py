"""Labels of several people for one document: where they differ, and the one label that comes of a choice for each.

Pure. What means the same in all labels is taken from the first; rows of arrays are paired by likeness. A difference is
a field with the values that people gave, or a row that not everybody has: it is kept or left out as a whole, and its
cells are compared among those who have it.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.form.merge import MISSING, same
from labeling.review.agreement import paired_rows
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.structure import Field, Node, join
from slmstudio.contract.values.kinds.values import normalize

#: picks for a row that not everybody has
KEEP, LEAVE_OUT = "keep", "leave out"


@dataclass(frozen=True, slots=True)
class Said:
    """A value, and who gave it (numbers of labels). MISSING and null both mean that nothing is there. ``path``: where
    it stands in the label of the first of them.
    """

    value: Any
    people: tuple[int, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where labels differ. ``path`` numbers rows as they are paired, which is not always how somebody numbers them.

    ``said`` has the different values, what most people gave first. For a row (``is_row``): the row as each person has
    it, MISSING for who has none. ``within``: the row that it is a cell of, where that row may be left out.
    """

    path: str
    field: Field | None
    said: tuple[Said, ...]
    is_row: bool = False
    within: str = ""


@dataclass(slots=True)
class Dispute:
    """The differences of some labels, and ``value``: the label that comes of the picks (of the first value each, where
    there is no pick). ``sources``: path in ``value`` -> (label, path there) of what was taken from a label. ``places``:
    path of a difference -> path in ``value``. ``rows``: path of a paired row -> the row as the first who has it has it.
    """

    value: Any
    differences: list[Difference] = field(default_factory=list)
    sources: dict[str, tuple[int, str]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)


def settle(
    root: Node, labels: Sequence[Any], picks: Mapping[str, Any] | None = None, doubted: str | None = None
) -> Dispute:
    """Compares labels and puts one together. ``picks``: path of a difference -> the value there (MISSING: nothing), or
    KEEP or LEAVE_OUT for a row. Picks for other paths are ignored. ``doubted``: the path of a value that is a
    difference even where all labels agree.
    """
    dispute = Dispute(None)
    here = [_Here(number, label, "") for number, label in enumerate(labels)]
    value = _Settler(picks or {}, dispute, doubted).settle(root, here, "", "", "")
    dispute.value = {} if value is MISSING else value
    return dispute


@dataclass(frozen=True, slots=True)
class _Here:
    """What one label has at a place, and where in that label it stands."""

    person: int
    value: Any
    path: str

    def at(self, name: str | int) -> "_Here":
        """The same for a place below."""
        holds = isinstance(self.value, dict if isinstance(name, str) else list)
        value = MISSING
        if holds and (name in self.value if isinstance(name, str) else name < len(self.value)):
            value = self.value[name]
        return _Here(self.person, value, join(self.path, name))


def _nothing(value: Any) -> bool:
    return value is MISSING or value is None


class _Settler:
    """One walk over the schema and all labels. ``path`` counts paired rows, ``out`` the rows of the result."""

    def __init__(self, picks: Mapping[str, Any], dispute: Dispute, doubted: str | None) -> None:
        self.picks, self.dispute, self.doubted = picks, dispute, doubted

    def settle(self, node: Node | None, here: list[_Here], path: str, out: str, within: str) -> Any:
        """The value of one place of the result."""
        is_doubted = path == self.doubted and node is not None and node.field is not None
        if not is_doubted and all(_nothing(one.value) for one in here):
            return None if any(one.value is None for one in here) else MISSING
        if node is None or node.field is not None:
            return self.leaf(node.field if node else None, here, path, out, within)
        if node.item is not None:
            return self.rows(node, here, path, out, within)
        return self.group(node, here, path, out, within)

    def leaf(self, field: Field | None, here: list[_Here], path: str, out: str, within: str) -> Any:
        """A value that most agree on, or the one picked."""
        said: dict[Hashable, list[_Here]] = {}
        for one in here:
            meaning: Hashable = None
            if not _nothing(one.value):
                meaning = dumps(one.value) if field is None else normalize(one.value, field)
            said.setdefault(meaning, []).append(one)
        groups = sorted(said.values(), key=lambda group: (-len(group), group[0].person))
        if len(groups) == 1 and path != self.doubted:
            return self.taken(groups[0][0], out)
        values = tuple(Said(group[0].value, tuple(one.person for one in group), group[0].path) for group in groups)
        self.dispute.differences.append(Difference(path, field, values, within=within))
        self.dispute.places[path] = out
        if path not in self.picks:
            return self.taken(groups[0][0], out)
        pick = self.picks[path]
        giver = next((group[0] for group in groups if same(group[0].value, pick)), None)
        return pick if giver is None else self.taken(giver, out)

    def taken(self, one: _Here, out: str) -> Any:
        """A value of a label, noted as taken from there."""
        self.dispute.sources[out] = (one.person, one.path)
        return one.value

    def group(self, node: Node, here: list[_Here], path: str, out: str, within: str) -> Any:
        """An object, name by name; names that the schema does not list follow after those it does."""
        extra = (name for one in here if isinstance(one.value, dict) for name in one.value if name not in node.children)
        result: dict[str, Any] = {}
        for name in dict.fromkeys([*node.children, *extra]):
            below = [one.at(name) for one in here]
            value = self.settle(node.children.get(name), below, join(path, name), join(out, name), within)
            if value is not MISSING:
                result[name] = value
        # Some say that there is no such thing at all, and the picks leave nothing in it.
        empty = all(_nothing(value) for value in result.values())
        absent = [one.value for one in here if _nothing(one.value)]
        return absent[0] if empty and absent else result

    def rows(self, node: Node, here: list[_Here], path: str, out: str, within: str) -> Any:
        """An array, row by row as they are paired."""
        result: list[Any] = []
        rows = [one.value if isinstance(one.value, list) else [] for one in here]
        for number, group in enumerate(paired_rows(node, rows)):
            place = join(path, number)
            owners = [here[index].at(row) for index, row in sorted(group.items())]
            self.dispute.rows[place] = owners[0].value
            inside = within
            pick = KEEP
            if len(owners) < len(here):
                inside = place
                pick = self.partial(place, here, owners, within)
            value = self.settle(node.item, owners, place, join(out, len(result)), inside)
            if pick != LEAVE_OUT and value is not MISSING:
                result.append(value)
            else:
                self.forget(join(out, len(result)))
        absent = [one.value for one in here if _nothing(one.value)]
        return absent[0] if absent and not result else result

    def partial(self, place: str, here: list[_Here], owners: list[_Here], within: str) -> Any:
        """A row that some have and some have not: whether it is kept."""
        having = {one.person for one in owners}
        lacking = tuple(one.person for one in here if one.person not in having)
        said = [*(Said(one.value, (one.person,)) for one in owners), Said(MISSING, lacking)]
        self.dispute.differences.append(Difference(place, None, tuple(said), is_row=True, within=within))
        return self.picks.get(place, KEEP if len(owners) >= len(lacking) else LEAVE_OUT)

    def forget(self, out: str) -> None:
        """What was noted for a row that is left out."""
        inside = (f"{out}.", f"{out}[")
        for path in [path for path in self.dispute.sources if path == out or path.startswith(inside)]:
            del self.dispute.sources[path]
        for path in [path for path, place in self.dispute.places.items() if place == out or place.startswith(inside)]:
            del self.dispute.places[path]


def evidence_of(dispute: Dispute, evidences: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The evidence of the result: for what was taken from a label, what stands there for it."""
    found = {}
    for path, (person, source) in dispute.sources.items():
        if source in evidences[person]:
            found[path] = evidences[person][source]
    return found
