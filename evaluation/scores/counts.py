"""What a gate metric counts in scores, and the measurement of it. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from evaluation.scores.measurements import Measurement
from evaluation.scores.score_view import ScoreView

#: document id -> DocumentScore, its stored dict, or a ScoreView
Scores = Mapping[Any, Any]
#: (wrong, counted) of each document
_SHARES: dict[str, Callable[[ScoreView, str, str], tuple[int, int]]] = {
    "field_error_rate": lambda score, field, value: (score.count(field).wrong, score.count(field).total),
    "recall": lambda score, field, value: score.missed_values(field, value),
}
#: whether a document counts
_RATES: dict[str, Callable[[ScoreView, str], bool]] = {
    "schema_valid_rate": lambda score, field: score.schema_valid,
    "document_error_rate": lambda score, field: not score.exact,
    # Of an output that cannot be read, nobody can tell that its values are in the document.
    "hallucination_rate": lambda score, field: not score.is_readable or score.has_hallucination(field),
    "routing_decision_rate": lambda score, field: score.has_decision(field),
}
#: metrics that are computed from scores
SCORE_METRICS = frozenset({*_SHARES, *_RATES, "invariants_hold_rate", "no_regression"})


def from_scores(
    metric: str,
    scores: Scores,
    *,
    baseline: Scores | None = None,
    against: str = "the baseline",
    field: str = "",
    value: str = "",
) -> Measurement:
    """The measurement of a metric that is computed from scores, by document, of candidate and baseline.

    ``field`` and ``value``: only this field, and only where gold has this value. Raises KeyError for another metric.
    """
    views = {key: ScoreView.of(score) for key, score in scores.items()}
    if metric == "no_regression":
        before = None if baseline is None else {key: ScoreView.of(score) for key, score in baseline.items()}
        return _paired(views, before, against, field)
    if field and views and not any(view.of_field(field) for view in views.values()):
        return Measurement.nothing(f"no document has the field {field}")
    if metric in _SHARES:
        return Measurement.fields(_SHARES[metric](view, field, value) for view in views.values())
    if metric == "invariants_hold_rate":
        return _invariants(views)
    counts = _RATES[metric]
    return Measurement.rate(sum(counts(view, field) for view in views.values()), len(views))


def _invariants(views: Mapping[Any, ScoreView]) -> Measurement:
    """Where invariants could be checked anywhere, an output that cannot be read violates them."""
    held = [view.invariants_hold for view in views.values()]
    if held and all(value is None for value in held):
        return Measurement.nothing("the schema has no invariants, or no output could be read")
    return Measurement.rate(sum(bool(value) for value in held), len(held))


def _paired(
    views: Mapping[Any, ScoreView], baseline: Mapping[Any, ScoreView] | None, against: str, field: str
) -> Measurement:
    """Field accuracy of each document that both have, before and after."""
    if baseline is None:
        return Measurement.nothing("there is no baseline to compare with")
    accuracy = (lambda view: view.accuracy_of(field)) if field else (lambda view: view.accuracy)
    both = [(accuracy(baseline[key]), accuracy(view)) for key, view in views.items() if key in baseline]
    if not both:
        return Measurement.nothing("the two models have no document in common")
    # Absent in gold and in one of the two outputs: that output was right to leave the field out.
    pairs = [(1.0 if b is None else b, 1.0 if a is None else a) for b, a in both if (b, a) != (None, None)]
    if not pairs:
        return Measurement.nothing(f"no document has the field {field}")
    return Measurement.paired([b for b, _ in pairs], [a for _, a in pairs], against)
