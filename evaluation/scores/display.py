"""Scores for a page: gold and outputs side by side with highlighted differences, confusion matrices. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.scores.score_view import CORRECT_OUTCOMES
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import ERROR_LABELS

FREE_TEXT = "free"
RIGHT = CORRECT_OUTCOMES | {FREE_TEXT}
OUTCOME_LABELS = {
    "correct": "correct",
    "wrong": "wrong value",
    "missing": ERROR_LABELS["missing"],
    "extra": ERROR_LABELS["extra"],
    "hallucinated": "hallucinated",
    "both_absent": "correctly absent",
    "unscorable": "no valid output",
    FREE_TEXT: "free text, not scored",
}
Pieces = list[tuple[bool, str]]

#: a confusion matrix is shown for at most this many classes
MAX_CLASSES = 12


@dataclass(frozen=True)
class ValueCell:
    """One model's value for a field: ``pieces`` are (marked, text), marked where it differs from gold."""

    pieces: Pieces
    outcome: str
    error: str

    @property
    def right(self) -> bool:
        """Whether the outcome is not an error."""
        return self.outcome in RIGHT

    @property
    def label(self) -> str:
        """The outcome, with the error type if it adds information."""
        label = OUTCOME_LABELS.get(self.outcome, self.outcome)
        error = ERROR_LABELS.get(self.error, self.error)
        return label if not error or error == label else f"{label}: {error}"


@dataclass(frozen=True)
class FieldRow:
    """One field of a document: its path, the gold value and the cell of each model."""

    path: str
    gold: Pieces
    cells: tuple[ValueCell | None, ...]

    @property
    def right(self) -> bool:
        """Whether every model is correct."""
        return all(cell is not None and cell.right for cell in self.cells)


def score_rows(*scores: Mapping[str, Any] | None) -> list[FieldRow]:
    """The rows of a document, one cell for each score (a DocumentScore as it is stored), in field order.

    With one score, gold is also marked where it differs from the output; with several, only the outputs are marked.
    """
    outcomes = [{row["path"]: row for row in _field_outcomes(score or {})} for score in scores]
    paths = dict.fromkeys(path for by_path in outcomes for path in by_path)
    return [_row(path, [by_path.get(path) for by_path in outcomes]) for path in paths]


def split_rows(*scores: Mapping[str, Any] | None, most: int) -> tuple[list[FieldRow], list[FieldRow], int]:
    """(rows with an error, correct rows, number of rows left out), with at most ``most`` rows of each.

    Rows left out are not compared by character, which is the slow part.
    """
    outcomes = [{row["path"]: row for row in _field_outcomes(score or {})} for score in scores]
    paths: tuple[list[str], list[str]] = [], []
    for path in dict.fromkeys(path for by_path in outcomes for path in by_path):
        right = all(path in by_path and str(by_path[path]["outcome"]) in RIGHT for by_path in outcomes)
        paths[right].append(path)
    wrong, right_rows = (
        [_row(path, [by_path.get(path) for by_path in outcomes]) for path in part[:most]] for part in paths
    )
    return wrong, right_rows, sum(max(0, len(part) - most) for part in paths)


def _field_outcomes(score: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The scored fields, then the unscored free text fields."""
    return [
        *score.get("fields", []),
        *({**field, "outcome": FREE_TEXT, "error": ""} for field in score.get("free", ())),
    ]


def _row(path: str, outcomes: Sequence[Mapping[str, Any] | None]) -> FieldRow:
    gold = text_of(next((outcome.get("gold") for outcome in outcomes if outcome is not None), None))
    cells = tuple(None if outcome is None else _cell(outcome, gold) for outcome in outcomes)
    marked: Pieces = [(False, gold)] if gold else []
    if len(outcomes) == 1 and outcomes[0] is not None and outcomes[0]["outcome"] == "wrong":
        marked = highlighted(gold, text_of(outcomes[0].get("output")), "delete")
    return FieldRow(path, marked, cells)


def _cell(outcome: Mapping[str, Any], gold: str) -> ValueCell:
    text, kind = text_of(outcome.get("output")), str(outcome["outcome"])
    pieces = [(False, text)] if kind in RIGHT else highlighted(gold, text, "insert")
    return ValueCell([piece for piece in pieces if piece[1]], kind, str(outcome.get("error") or ""))


def highlighted(gold: str, output: str, side: str) -> Pieces:
    """The pieces of one side, marked where it differs: ``side`` is "delete" for gold, "insert" for the output."""
    if not gold:
        return [(True, output)] if side == "insert" else []
    return [(step == side, text) for step, text in diff_chars(gold, output) if step in ("equal", side)]


def text_of(value: Any) -> str:
    """A value for display: a string unchanged, anything else as JSON, "" for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value)


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class, and the predicted classes instead of it, most frequent first ("": none predicted)."""

    name: str
    figures: Mapping[str, Any]
    confused_with: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ConfusionMatrix:
    """The confusion matrix of an enum field.

    ``matrix`` has a row per gold class: its name, and (count, whether it is correct) for each of ``columns``. Empty for
    more than ``MAX_CLASSES`` classes.
    """

    field: str
    right: Mapping[str, Any]
    decided: Mapping[str, Any]
    macro: Mapping[str, Any]
    rows: tuple[ClassMetrics, ...]
    columns: tuple[str, ...]
    matrix: tuple[tuple[str, tuple[tuple[int, bool], ...]], ...]


def confusion_matrices(scores: Mapping[str, Any]) -> list[ConfusionMatrix]:
    """The matrices of an evaluation's summary; classes with the most errors come first."""
    return [_confusion_matrix(field, figures) for field, figures in scores.get("classes", {}).items()]


def _confusion_matrix(field: str, figures: Mapping[str, Any]) -> ConfusionMatrix:
    counts: Mapping[str, Mapping[str, int]] = figures["matrix"]
    rows = []
    for name, metrics in figures["classes"].items():
        others = [(output, count) for output, count in counts.get(name, {}).items() if output != name]
        rows.append(ClassMetrics(name, metrics, tuple(sorted(others, key=lambda pair: (-pair[1], pair[0])))))
    rows.sort(key=lambda row: (-sum(count for _, count in row.confused_with), row.name))
    # "" (no class predicted) is the last column and row.
    outputs = {output for row in counts.values() for output in row}
    columns = sorted({*figures["classes"]} | outputs, key=lambda name: (name == "", name))
    golds = sorted(counts, key=lambda name: (name == "", name))
    matrix = tuple(
        (gold, tuple((counts[gold].get(output, 0), bool(gold) and output == gold) for output in columns))
        for gold in golds
    )
    shown = matrix if len(columns) <= MAX_CLASSES else ()
    parts = (figures["right"], figures["decided"], figures["macro"])
    return ConfusionMatrix(field, *parts, tuple(rows), tuple(columns), shown)


LONGEST_DIFF = 4000


def diff_chars(a: str, b: str) -> list[tuple[str, str]]:
    """The characters that differ: ("equal" | "delete" | "insert", text) pieces that turn ``a`` into ``b``.

    The parts kept and deleted, joined, give ``a``; those kept and inserted give ``b``. Beyond the common
    start and end, texts of more than ``LONGEST_DIFF`` characters count as entirely different.
    """
    from rapidfuzz.distance import Levenshtein

    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    old, new = a[start : len(a) - end], b[start : len(b) - end]
    pieces = [("equal", a[:start])]
    if max(len(old), len(new)) > LONGEST_DIFF:
        pieces += [("delete", old), ("insert", new)]
    else:
        for step in Levenshtein.opcodes(old, new):
            kept, added = old[step.src_start : step.src_end], new[step.dest_start : step.dest_end]
            if step.tag == "equal":
                pieces.append(("equal", kept))
            else:
                pieces += [("delete", kept), ("insert", added)]
    pieces.append(("equal", a[len(a) - end :]))
    return [(op, text) for op, text in pieces if text]


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common at their start: halved, not walked, because texts may be long."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
