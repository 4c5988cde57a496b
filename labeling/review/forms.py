"""Forms of reviewers: the reason of a rejection, and choices between conflicting values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms

from labeling.form.codec import from_entry, to_entry
from labeling.form.merge import MISSING
from labeling.form.tree import FormNode, node_at, tree_of
from labeling.review.adjudication import AdjudicationDocument
from labeling.review.conflicts import KEEP, LEAVE_OUT, Conflict, ValueVote
from labeling.review.services import NO_REASON
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import ValueProblem

NOTHING, OTHER = "nothing", "other"
MAX_TYPED_LENGTH = 20_000


class RejectForm(forms.Form):
    """The reason of a rejection."""

    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        error_messages={"required": NO_REASON},
    )
    version = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)


@dataclass(slots=True)
class ValueChoice:
    """One option of a conflict, with the names of the annotators who chose it. ``span``: its evidence in the text, in
    characters.
    """

    code: str
    label: str
    annotators: str = ""
    is_absent: bool = False
    cells: list[str] = field(default_factory=list)
    span: tuple[int, int] | None = None


@dataclass(slots=True)
class ConflictField:
    """One conflict in the form. ``row``: the first cells of its row. ``choice``: the code of the chosen option, ""
    without one; ``typed``: the text of "another value".
    """

    number: int
    conflict: Conflict
    node: FormNode
    title: str
    choices: list[ValueChoice]
    row: str = ""
    choice: str = ""
    typed: str = ""
    confirmed: bool = False
    messages: list[str] = field(default_factory=list)
    needs_confirmation: bool = False

    @property
    def allows_other(self) -> bool:
        """Whether another value can be entered."""
        return not self.conflict.is_row and self.node.is_leaf

    @property
    def options(self) -> list[tuple[str, str]]:
        """The options of an enum for "another value"; empty for free text."""
        if self.node.shape == "boolean":
            return [("true", "Yes"), ("false", "No")]
        return [(option.code, option.label) for option in self.node.options]


class ConflictForm:
    """The conflicts of a document, the choices between them, and the resulting label."""

    def __init__(self, document: AdjudicationDocument, data: Mapping[str, str] | None = None) -> None:
        self.document = document
        self.tree = tree_of(document.schema_version.compiled)
        self.label_names = document.label_names
        self.other_messages: list[str] = []
        self.choices: dict[str, Any] = {}
        self.conflicts = document.resolve()
        self.fields = [self._field(number, conflict) for number, conflict in enumerate(self.conflicts.conflicts)]
        if data is not None:
            for item in self.fields:
                self._read(item, data)
            self.conflicts = document.resolve(self.choices)

    @property
    def is_complete(self) -> bool:
        """Whether every conflict is decided. Conflicts inside an excluded row need no decision."""
        return not any(item.messages for item in self.fields)

    @property
    def evidence(self) -> dict[str, Any]:
        """The evidence of the annotators, and the values that the reviewer confirmed."""
        evidence = self.document.evidence(self.conflicts)
        for item in self.fields:
            place = self.conflicts.value_paths.get(item.conflict.path)
            if item.confirmed and place is not None:
                value = self.choices.get(item.conflict.path, MISSING)
                if value is not MISSING:
                    evidence[place] = {"confirmed": True, "of": dumps(value)}
        return evidence

    def add_problems(self, problems: list[ValueProblem]) -> None:
        """Adds the problems of the resulting label to their fields."""
        asked = {
            self.conflicts.value_paths[item.conflict.path]: item
            for item in self.fields
            if item.conflict.path in self.conflicts.value_paths
        }
        for problem in problems:
            item = asked.get(problem.path)
            if item is None:
                self.other_messages.append(f"{problem.path} {problem.message}".strip())
            elif problem.rule == "evidence":
                item.needs_confirmation = True
                item.messages.append("This value is not in the document. Confirm or change it.")
            else:
                item.messages.append(problem.message)

    def _field(self, number: int, conflict: Conflict) -> ConflictField:
        node = node_at(self.tree, conflict.path)
        title = node.title or node.key
        if conflict.is_row:
            parent = node_at(self.tree, conflict.path[: conflict.path.rindex("[")])
            title = f"{parent.title}: row missing in some labels"
            choices = self._row_choices(conflict, node)
        else:
            choices = [self._choice(str(index), vote, node) for index, vote in enumerate(conflict.votes)]
            if node.may_be_absent and not any(choice.is_absent for choice in choices):
                choices.append(ValueChoice(NOTHING, "Not in the document", is_absent=True))
        return ConflictField(number, conflict, node, title, choices, self._row_of(conflict))

    def _row_of(self, conflict: Conflict) -> str:
        """The first cells of the row of a conflict."""
        if conflict.is_row or "]" not in conflict.path:
            return ""
        row = self.conflicts.rows.get(conflict.path[: conflict.path.rindex("]") + 1])
        if not isinstance(row, dict):
            return ""
        cells = [_text(value) for value in row.values() if value is not None and not isinstance(value, dict | list)]
        return " · ".join(cell[:60] for cell in cells[:3])

    def _row_choices(self, conflict: Conflict, node: FormNode) -> list[ValueChoice]:
        having = [vote for vote in conflict.votes if vote.value is not MISSING]
        lacking = next(vote for vote in conflict.votes if vote.value is MISSING)
        row = having[0].value
        cells = (
            [f"{child.title}: {_text(row.get(child.key))}" for child in node.children if child.key in row]
            if isinstance(row, dict)
            else []
        )
        people = tuple(person for vote in having for person in vote.labels)
        keep = ValueChoice(KEEP, "Keep row" if cells else _text(row), self._people(people), cells=cells)
        return [keep, ValueChoice(LEAVE_OUT, "Remove row", self._people(lacking.labels), is_absent=True)]

    def _choice(self, code: str, vote: ValueVote, node: FormNode) -> ValueChoice:
        nothing = vote.value is MISSING or vote.value is None
        words = "Not in the document" if nothing else _display(node, vote.value)
        return ValueChoice(code, words, self._people(vote.labels), nothing, span=self._place(vote))

    def _place(self, vote: ValueVote) -> tuple[int, int] | None:
        place = self.document.labels[vote.labels[0]].evidence.get(vote.path)
        start, end = (place.get("start"), place.get("end")) if isinstance(place, dict) else (None, None)
        return (start, end) if isinstance(start, int) and isinstance(end, int) and 0 <= start < end else None

    def _people(self, people: tuple[int, ...]) -> str:
        return ", ".join(self.label_names[person] for person in people)

    def _read(self, item: ConflictField, data: Mapping[str, str]) -> None:
        """Reads the choice for a field. A field inside an excluded row needs none."""
        number, path = item.number, item.conflict.path
        item.choice = str(data.get(f"pick-{number}", ""))[:20]
        item.typed = str(data.get(f"other-{number}", ""))[:MAX_TYPED_LENGTH]
        item.confirmed = f"sure-{number}" in data
        item.needs_confirmation = item.confirmed
        if self.choices.get(item.conflict.within) == LEAVE_OUT:
            return
        if item.choice == OTHER and item.allows_other:
            self._read_typed(item, path)
        elif item.choice == NOTHING:
            self.choices[path] = None if item.node.nullable else MISSING
        elif item.choice in [choice.code for choice in item.choices]:
            row = item.conflict.is_row
            self.choices[path] = item.choice if row else item.conflict.votes[int(item.choice)].value
        else:
            item.messages.append("Choose a value.")

    def _read_typed(self, item: ConflictField, path: str) -> None:
        typed = item.typed
        entry: Any = {"true": True, "false": False}.get(typed, typed) if item.node.shape == "boolean" else typed
        if isinstance(entry, str) and not entry.strip():
            item.messages.append("Enter a value, or choose one of the others.")
            return
        parsed = from_entry(item.node, entry)
        if parsed.problems:
            item.messages.extend(problem.message for problem in parsed.problems)
            return
        self.choices[path] = parsed.value


def _display(node: FormNode, value: Any) -> str:
    """A value as displayed."""
    entry = to_entry(node, value)
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    return next((option.label for option in node.options if option.code == entry), _text(value))


def _text(value: Any) -> str:
    if value is None or value is MISSING:
        return "empty"
    return value if isinstance(value, str) else dumps(value)
