"""What a gate counts in scores: a field's outcomes, what gold has, what was invented; and the measurement that makes.

Pure. A score is a ``slmstudio.contract.scoring.scorer.DocumentScore``, or the plain dict it is stored as.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.scores.measurements import NOT_COUNTED, RIGHT, Measurement, Scored
from evaluation.scores.slices import as_text


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of one document: its pattern, what became of it, and both values."""

    field: str
    outcome: str
    gold: Any
    output: Any


def cells(score: Any, field: str = "", value: str = "") -> list[Cell]:
    """The fields of a score; only those of one pattern, only those whose gold is this value."""
    rows = score["fields"] if isinstance(score, Mapping) else score.fields
    return [
        cell
        for cell in map(_cell, rows)
        if (not field or cell.field == field) and (not value or as_text(cell.gold) == value)
    ]


def _cell(row: Any) -> Cell:
    if isinstance(row, Mapping):
        return Cell(str(row["field"]), str(row["outcome"]), row["gold"], row["output"])
    if isinstance(row, tuple):  # of a Scored, which keeps no values
        return Cell(row[0], row[1], None, None)
    return Cell(str(row.field), str(row.outcome), row.gold, row.output)


def wrong_of(score: Any, field: str = "") -> tuple[int, int]:
    """(wrong, counted) outcomes of a document, or of one of its fields."""
    counted = [cell for cell in cells(score, field) if cell.outcome != NOT_COUNTED]
    return sum(cell.outcome not in RIGHT for cell in counted), len(counted)


def share_right(score: Any, field: str = "") -> float | None:
    """The share of counted outcomes that are right; of one field None where nothing counts."""
    if not field:
        return Scored.of(score).share_right
    wrong, counted = wrong_of(score, field)
    return 1.0 - wrong / counted if counted else None


def missed_of(score: Any, field: str = "", value: str = "") -> tuple[int, int]:
    """(not found, wanted): of the values that gold has, those that the output does not have right."""
    wanted = [cell for cell in cells(score, field, value) if cell.gold is not None]
    return sum(cell.outcome != "correct" for cell in wanted), len(wanted)


def invents(score: Any, field: str = "") -> bool:
    """Whether a value is wrong or extra and stands nowhere in the document; of what cannot be read nobody can say that
    it is not so, and it counts."""
    return not readable(score) or any(cell.outcome == "hallucinated" for cell in cells(score, field))


def readable(score: Any) -> bool:
    """Whether an output could be read at all: JSON, and an object."""
    valid = score.get("valid_json", True) if isinstance(score, Mapping) else getattr(score, "valid_json", True)
    return bool(valid) and not any(cell.outcome == "unscorable" for cell in cells(score))


def decides(score: Any, field: str) -> bool:
    """Whether the output holds a valid choice wherever the field occurs: the routing decision rate counts these."""
    valid = score["schema_valid"] if isinstance(score, Mapping) else score.schema_valid
    found = cells(score, field)
    return bool(valid and found) and all(cell.output is not None for cell in found)


def rules_hold(score: Any) -> bool | None:
    """Whether the rules between fields hold; None where there are none, or the output is invalid."""
    held: bool | None = score["invariants_hold"] if isinstance(score, Mapping) else score.invariants_hold
    return held


# -- measurements ----------------------------------------------------------------------------------

Scores = Mapping[Any, Any]
_OF_SHARES: dict[str, Callable[[Any, str, str], tuple[int, int]]] = {
    "field_error_rate": lambda score, field, value: wrong_of(score, field),
    "recall": missed_of,
}
_OF_DOCUMENTS: dict[str, Callable[[Any, str], bool]] = {
    "schema_valid_rate": lambda score, field: Scored.of(score).schema_valid,
    "document_error_rate": lambda score, field: not Scored.of(score).exact,
    "hallucination_rate": invents,
    "routing_decision_rate": decides,
}
#: the metrics that rest on scores
BY_SCORES = frozenset({*_OF_SHARES, *_OF_DOCUMENTS, "invariants_hold_rate", "no_regression"})


def from_scores(
    metric: str,
    scores: Scores,
    *,
    baseline: Scores | None = None,
    against: str = "the baseline",
    field: str = "",
    value: str = "",
) -> Measurement:
    """The measurement of a metric that rests on scores: document id -> score, for candidate and baseline.

    ``field`` and ``value``: of one field alone, and of one of its values in gold. Raises KeyError for another metric.
    """
    if metric == "no_regression":
        return _paired(scores, baseline, against, field)
    if field and scores and not any(cells(score, field) for score in scores.values()):
        return Measurement.nothing(f"no document has the field {field}")
    if metric in _OF_SHARES:
        return Measurement.fields(_OF_SHARES[metric](score, field, value) for score in scores.values())
    if metric == "invariants_hold_rate":
        return _rules(scores)
    count = _OF_DOCUMENTS[metric]
    return Measurement.rate(sum(count(score, field) for score in scores.values()), len(scores))


def _rules(scores: Scores) -> Measurement:
    """Where rules could be checked anywhere, an output that could not be read does not keep them."""
    held = [rules_hold(score) for score in scores.values()]
    if held and all(one is None for one in held):
        return Measurement.nothing("the schema has no rules between fields, or no output could be read")
    return Measurement.rate(sum(bool(one) for one in held), len(held))


def _paired(scores: Scores, baseline: Scores | None, against: str, field: str) -> Measurement:
    """The share of right fields of each document that both have, before and after."""
    if baseline is None:
        return Measurement.nothing("there is no earlier model to hold it against")
    both = [(share_right(baseline[key], field), share_right(scores[key], field)) for key in scores if key in baseline]
    if not both:
        return Measurement.nothing("the two models have no document in common")
    # Absent in gold and in one of the two outputs, a field was right to be left out by that one.
    pairs = [(1.0 if b is None else b, 1.0 if a is None else a) for b, a in both if (b, a) != (None, None)]
    if not pairs:
        return Measurement.nothing(f"no document has the field {field}")
    return Measurement.paired([b for b, _ in pairs], [a for _, a in pairs], against)
