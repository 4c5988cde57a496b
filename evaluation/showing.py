"""How gold and outputs stand beside each other on a page: rows per field, differing characters marked. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.compare import diff_chars
from slmstudio.contract.jsontext import dumps
from slmstudio.contract.scoring import ERRORS

RIGHT = frozenset({"correct", "both_absent"})
WORDS = {
    "correct": "right",
    "wrong": "wrong",
    "missing": "missing",
    "extra": "extra",
    "hallucinated": "hallucinated",
    "both_absent": "absent, rightly",
    "unscorable": "no valid output",
}
Pieces = list[tuple[bool, str]]


@dataclass(frozen=True)
class Cell:
    """One model's value for a field: ``pieces`` are (marked, text), a mark where it differs from gold."""

    pieces: Pieces
    outcome: str
    error: str

    @property
    def right(self) -> bool:
        """Whether the outcome is no error."""
        return self.outcome in RIGHT

    @property
    def words(self) -> str:
        """The outcome, and the kind of error where it says more."""
        said = WORDS.get(self.outcome, self.outcome)
        error = ERRORS.get(self.error, self.error)
        return said if not error or error == said else f"{said}: {error}"


@dataclass(frozen=True)
class Row:
    """One field of a document: its place, the gold value and every model's cell."""

    path: str
    gold: Pieces
    cells: tuple[Cell | None, ...]

    @property
    def right(self) -> bool:
        """Whether every model has it right."""
        return all(cell is not None and cell.right for cell in self.cells)


def field_rows(*scores: Mapping[str, Any] | None) -> list[Row]:
    """The rows of a document, one cell for each score (a DocumentScore as it is stored), in the order of the fields.

    With one score the gold is marked too, where the output lacks it; with several each output is marked against gold.
    """
    outcomes = [{row["path"]: row for row in (score or {}).get("fields", [])} for score in scores]
    paths = dict.fromkeys(path for found in outcomes for path in found)
    return [_row(path, [found.get(path) for found in outcomes]) for path in paths]


def _row(path: str, found: Sequence[Mapping[str, Any] | None]) -> Row:
    gold = text_of(next((outcome.get("gold") for outcome in found if outcome is not None), None))
    cells = tuple(None if outcome is None else _cell(outcome, gold) for outcome in found)
    marked: Pieces = [(False, gold)] if gold else []
    if len(found) == 1 and found[0] is not None and found[0]["outcome"] == "wrong":
        marked = marks(gold, text_of(found[0].get("output")), "delete")
    return Row(path, marked, cells)


def _cell(outcome: Mapping[str, Any], gold: str) -> Cell:
    text, kind = text_of(outcome.get("output")), str(outcome["outcome"])
    pieces = [(False, text)] if kind in RIGHT else marks(gold, text, "insert")
    return Cell([piece for piece in pieces if piece[1]], kind, str(outcome.get("error") or ""))


def marks(gold: str, output: str, side: str) -> Pieces:
    """The pieces of one side, marked where it differs: ``side`` is "delete" for gold, "insert" for the output."""
    if not gold:
        return [(True, output)] if side == "insert" else []
    return [(step == side, text) for step, text in diff_chars(gold, output) if step in ("equal", side)]


def text_of(value: Any) -> str:
    """A value as it is shown: a text as it is, anything else as JSON, nothing for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value)
