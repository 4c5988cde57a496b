"""What reviewers send: a reason for sending a label back, and their picks where labels differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django import forms

from labeling.form.codec import from_entry, to_entry
from labeling.form.merge import MISSING
from labeling.form.tree import FormNode, node_at, tree_of
from labeling.review.adjudication import UnderDispute
from labeling.review.conflicts import KEEP, LEAVE_OUT, Difference, Said
from slmstudio.contract.json_text import dumps
from slmstudio.contract.schema.compiled import Problem

NOTHING, OTHER = "nothing", "other"
MOST_TYPED = 20_000
MOST_KEY = 2**62


def whole_number(text: Any) -> int | None:
    """A whole number from 1 up that a database key can be; None for anything else."""
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    number = int(text)
    return number if 0 < number < MOST_KEY else None


class RejectForm(forms.Form):
    """Why a label goes back."""

    reason = forms.CharField(
        label="What is wrong?",
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "class": "form-control"}),
        error_messages={"required": "Say what is wrong, so that it can be put right."},
    )
    version = forms.IntegerField(required=False, min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)


@dataclass(slots=True)
class Choice:
    """One thing that can be picked. ``people`` gave it; nobody for "not in the document". ``place``: where they found
    it in the text, in characters.
    """

    code: str
    words: str
    people: str = ""
    nothing: bool = False
    cells: list[str] = field(default_factory=list)
    place: tuple[int, int] | None = None


@dataclass(slots=True)
class Question:
    """One difference as the page asks it. ``row``: the row that a cell is in, in words. ``picked`` is a code, "" while
    nothing is; ``typed`` stands in "another".
    """

    number: int
    difference: Difference
    node: FormNode
    title: str
    choices: list[Choice]
    row: str = ""
    picked: str = ""
    typed: str = ""
    sure: bool = False
    messages: list[str] = field(default_factory=list)
    asks_sure: bool = False

    @property
    def takes_other(self) -> bool:
        """Whether another value can be typed."""
        return not self.difference.is_row and self.node.is_leaf

    @property
    def options(self) -> list[tuple[str, str]]:
        """The choices of an enum, for "another"; empty where it is typed."""
        if self.node.shape == "boolean":
            return [("true", "yes"), ("false", "no")]
        return [(option.code, option.label) for option in self.node.options]


class DisputeForm:
    """The differences of a disputed document as questions, with what was picked, and the label that comes of it."""

    def __init__(self, found: UnderDispute, data: Mapping[str, str] | None = None) -> None:
        self.found = found
        self.tree = tree_of(found.schema_version.compiled)
        self.names = found.names
        self.other_messages: list[str] = []
        self.picks: dict[str, Any] = {}
        self.dispute = found.settle()
        self.questions = [self._question(number, one) for number, one in enumerate(self.dispute.differences)]
        if data is not None:
            for question in self.questions:
                self._read(question, data)
            self.dispute = found.settle(self.picks)

    @property
    def is_complete(self) -> bool:
        """Whether everything that has to be decided is; what lies in a row that is left out has not."""
        return not any(question.messages for question in self.questions)

    @property
    def evidence(self) -> dict[str, Any]:
        """Where the values stand, as their people said, and what the reviewer confirmed."""
        evidence = self.found.evidence(self.dispute)
        for question in self.questions:
            place = self.dispute.places.get(question.difference.path)
            if question.sure and place is not None:
                value = self.picks.get(question.difference.path, MISSING)
                if value is not MISSING:
                    evidence[place] = {"confirmed": True, "of": dumps(value)}
        return evidence

    def note(self, problems: list[Problem]) -> None:
        """Puts what is wrong with the result beside the question it comes from."""
        asked = {
            self.dispute.places[question.difference.path]: question
            for question in self.questions
            if question.difference.path in self.dispute.places
        }
        for problem in problems:
            question = asked.get(problem.path)
            if question is None:
                self.other_messages.append(f"{problem.path} {problem.message}".strip())
            elif problem.rule == "evidence":
                question.asks_sure = True
                question.messages.append("This is not in the document. Confirm the value, or change it.")
            else:
                question.messages.append(problem.message)

    def _question(self, number: int, difference: Difference) -> Question:
        node = node_at(self.tree, difference.path)
        title = node.title or node.key
        if difference.is_row:
            parent = node_at(self.tree, difference.path[: difference.path.rindex("[")])
            title = f"{parent.title}: a row that not everybody has"
            choices = self._row_choices(difference, node)
        else:
            choices = [self._choice(str(index), said, node) for index, said in enumerate(difference.said)]
            if node.may_be_absent and not any(choice.nothing for choice in choices):
                choices.append(Choice(NOTHING, "not in the document", nothing=True))
        return Question(number, difference, node, title, choices, self._row_of(difference))

    def _row_of(self, difference: Difference) -> str:
        """The first cells of the row that a difference is in."""
        if difference.is_row or "]" not in difference.path:
            return ""
        row = self.dispute.rows.get(difference.path[: difference.path.rindex("]") + 1])
        if not isinstance(row, dict):
            return ""
        cells = [_shown(value) for value in row.values() if value is not None and not isinstance(value, dict | list)]
        return " · ".join(cell[:60] for cell in cells[:3])

    def _row_choices(self, difference: Difference, node: FormNode) -> list[Choice]:
        having = [said for said in difference.said if said.value is not MISSING]
        lacking = next(said for said in difference.said if said.value is MISSING)
        row = having[0].value
        cells = (
            [f"{child.title}: {_shown(row.get(child.key))}" for child in node.children if child.key in row]
            if isinstance(row, dict)
            else []
        )
        people = tuple(person for said in having for person in said.people)
        keep = Choice(KEEP, "keep it" if cells else _shown(row), self._people(people), cells=cells)
        return [keep, Choice(LEAVE_OUT, "leave it out", self._people(lacking.people), nothing=True)]

    def _choice(self, code: str, said: Said, node: FormNode) -> Choice:
        nothing = said.value is MISSING or said.value is None
        words = "not in the document" if nothing else _in_words(node, said.value)
        return Choice(code, words, self._people(said.people), nothing, place=self._place(said))

    def _place(self, said: Said) -> tuple[int, int] | None:
        place = self.found.labels[said.people[0]].evidence.get(said.path)
        start, end = (place.get("start"), place.get("end")) if isinstance(place, dict) else (None, None)
        return (start, end) if isinstance(start, int) and isinstance(end, int) and 0 <= start < end else None

    def _people(self, people: tuple[int, ...]) -> str:
        return ", ".join(self.names[person] for person in people)

    def _read(self, question: Question, data: Mapping[str, str]) -> None:
        """What was picked for a question. A question inside a row that is left out needs no answer."""
        number, path = question.number, question.difference.path
        question.picked = str(data.get(f"pick-{number}", ""))[:20]
        question.typed = str(data.get(f"other-{number}", ""))[:MOST_TYPED]
        question.sure = f"sure-{number}" in data
        question.asks_sure = question.sure
        if self.picks.get(question.difference.within) == LEAVE_OUT:
            return
        if question.picked == OTHER and question.takes_other:
            self._read_typed(question, path)
        elif question.picked == NOTHING:
            self.picks[path] = None if question.node.nullable else MISSING
        elif question.picked in [choice.code for choice in question.choices]:
            row = question.difference.is_row
            self.picks[path] = question.picked if row else question.difference.said[int(question.picked)].value
        else:
            question.messages.append("Pick one.")

    def _read_typed(self, question: Question, path: str) -> None:
        typed = question.typed
        entry: Any = {"true": True, "false": False}.get(typed, typed) if question.node.shape == "boolean" else typed
        if isinstance(entry, str) and not entry.strip():
            question.messages.append("Type the value, or pick one of the others.")
            return
        parsed = from_entry(question.node, entry)
        if parsed.problems:
            question.messages.extend(problem.message for problem in parsed.problems)
            return
        self.picks[path] = parsed.value


def _in_words(node: FormNode, value: Any) -> str:
    """A value as people read it."""
    entry = to_entry(node, value)
    if isinstance(entry, bool):
        return "yes" if entry else "no"
    return next((option.label for option in node.options if option.code == entry), _shown(value))


def _shown(value: Any) -> str:
    if value is None or value is MISSING:
        return "nothing"
    return value if isinstance(value, str) else dumps(value)
