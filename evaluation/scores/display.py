"""How scores stand on a page: gold and outputs side by side with their differences marked, tables of classes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.scores.measurements import RIGHT as COUNTED_RIGHT
from evaluation.scores.text_diff import diff_chars
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import ERROR_LABELS

FREE = "free"
RIGHT = COUNTED_RIGHT | {FREE}
WORDS = {
    "correct": "right",
    "wrong": "wrong",
    "missing": "missing",
    "extra": "extra",
    "hallucinated": "hallucinated",
    "both_absent": "absent, rightly",
    "unscorable": "no valid output",
    FREE: "free text, not scored",
}
Pieces = list[tuple[bool, str]]

#: a table of all pairs of classes is shown up to so many
MOST_IN_MATRIX = 12


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
        error = ERROR_LABELS.get(self.error, self.error)
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
    outcomes = [{row["path"]: row for row in _listed(score or {})} for score in scores]
    paths = dict.fromkeys(path for found in outcomes for path in found)
    return [_row(path, [found.get(path) for found in outcomes]) for path in paths]


def parted_rows(*scores: Mapping[str, Any] | None, most: int) -> tuple[list[Row], list[Row], int]:
    """The rows as ``field_rows`` has them: those that are not right everywhere, those that are, at most so many of
    each; and how many more there are. What is not shown is not marked, because that takes the time.
    """
    outcomes = [{row["path"]: row for row in _listed(score or {})} for score in scores]
    paths: tuple[list[str], list[str]] = [], []
    for path in dict.fromkeys(path for found in outcomes for path in found):
        right = all(path in found and str(found[path]["outcome"]) in RIGHT for found in outcomes)
        paths[right].append(path)
    wrong, right_rows = (
        [_row(path, [found.get(path) for found in outcomes]) for path in part[:most]] for part in paths
    )
    return wrong, right_rows, sum(max(0, len(part) - most) for part in paths)


def _listed(score: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The outcomes of a score, and what is written for people, which has none."""
    return [*score.get("fields", []), *({**one, "outcome": FREE, "error": ""} for one in score.get("free", ()))]


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


@dataclass(frozen=True)
class ClassRow:
    """One class: its figures, and what it was taken for, most often first ("" where nothing was decided)."""

    name: str
    figures: Mapping[str, Any]
    taken_for: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ClassTable:
    """A field that holds a choice. ``matrix`` has a row per class of gold: its name, and for each of ``columns`` how
    often it was said and whether that is right. Empty where there are too many classes to see anything.
    """

    field: str
    right: Mapping[str, Any]
    decided: Mapping[str, Any]
    macro: Mapping[str, Any]
    rows: tuple[ClassRow, ...]
    columns: tuple[str, ...]
    matrix: tuple[tuple[str, tuple[tuple[int, bool], ...]], ...]


def class_tables(scores: Mapping[str, Any]) -> list[ClassTable]:
    """The tables of an evaluation's summary; the class that is most often mistaken comes first."""
    return [_class_table(field, figures) for field, figures in scores.get("classes", {}).items()]


def _class_table(field: str, figures: Mapping[str, Any]) -> ClassTable:
    counts: Mapping[str, Mapping[str, int]] = figures["matrix"]
    rows = []
    for name, found in figures["classes"].items():
        others = [(output, count) for output, count in counts.get(name, {}).items() if output != name]
        rows.append(ClassRow(name, found, tuple(sorted(others, key=lambda pair: (-pair[1], pair[0])))))
    rows.sort(key=lambda row: (-sum(count for _, count in row.taken_for), row.name))
    # The last column and row are those of no decision, where there are any.
    outputs = {output for row in counts.values() for output in row}
    columns = sorted({*figures["classes"]} | outputs, key=lambda name: (name == "", name))
    golds = sorted(counts, key=lambda name: (name == "", name))
    matrix = tuple(
        (gold, tuple((counts[gold].get(output, 0), bool(gold) and output == gold) for output in columns))
        for gold in golds
    )
    shown = matrix if len(columns) <= MOST_IN_MATRIX else ()
    parts = (figures["right"], figures["decided"], figures["macro"])
    return ClassTable(field, *parts, tuple(rows), tuple(columns), shown)
