"""Error cost of a candidate and its baseline, in the contract's currency, with intervals. Pure.

A wrong field has the cost that ``x-slm`` declares (``"cost": 5.0``). A document has the sum over its wrong fields; an
unreadable output has all of them wrong. Intervals have the document as their unit, and the family where documents come
in families.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.scores.score_view import CORRECT_OUTCOMES, ScoreView
from evaluation.stats import paired_loss, share_interval


@dataclass(frozen=True)
class Amount:
    """An amount with its two-sided interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Amount":
        """The amount for ``factor`` documents."""
        return Amount(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class FieldCost:
    """One field: the cost of an error, and the errors of both models."""

    field: str
    cost: float
    candidate_errors: int
    baseline_errors: int | None


@dataclass(frozen=True)
class ErrorCostReport:
    """Error cost per document. ``difference`` is candidate minus baseline: below zero the candidate costs less.

    ``documents``: those of the candidate, or those that both have where there is a baseline.
    """

    documents: int
    candidate: Amount
    baseline: Amount | None
    difference: Amount | None
    fields: tuple[FieldCost, ...]


def error_costs(
    costs: Mapping[str, float],
    candidate: Mapping[Any, Any],
    baseline: Mapping[Any, Any] | None = None,
    *,
    confidence: float = 0.95,
    families: Mapping[Any, Hashable] | None = None,
) -> ErrorCostReport | None:
    """The error cost of two models per document, on the documents both have.

    Args:
        costs: field pattern -> cost of one error; other fields cost nothing.
        candidate: document id -> score; a DocumentScore or its stored dict.
        baseline: the same of the baseline.
        confidence: of the intervals.
        families: document id -> family, where a document is not alone in it.

    Returns:
        None if no field has a cost, or there is no document.
    """
    priced = {field: float(cost) for field, cost in costs.items() if cost > 0}
    keys = [key for key in candidate if baseline is None or key in baseline]
    if not priced or not keys:
        return None
    now = [_errors(candidate[key], priced) for key in keys]
    before = None if baseline is None else [_errors(baseline[key], priced) for key in keys]
    after_costs = [_cost(errors, priced) for errors in now]
    before_costs = None if before is None else [_cost(errors, priced) for errors in before]
    of = [(families or {}).get(key, (key,)) for key in keys]
    return ErrorCostReport(
        documents=len(keys),
        candidate=mean_cost(after_costs, _max_document_cost(priced, after_costs, candidate.values()), confidence, of),
        baseline=None
        if before_costs is None or baseline is None
        else mean_cost(before_costs, _max_document_cost(priced, before_costs, baseline.values()), confidence, of),
        difference=None if before_costs is None else mean_difference(before_costs, after_costs, confidence, of),
        fields=tuple(
            FieldCost(field, cost, _total(now, field), None if before is None else _total(before, field))
            for field, cost in priced.items()
        ),
    )


def _errors(score: Any, priced: Mapping[str, float]) -> dict[str, int]:
    """Field -> its errors in a document."""
    errors: dict[str, int] = {}
    for row in ScoreView.of(score).fields:
        if row.field in priced and row.outcome not in CORRECT_OUTCOMES:
            errors[row.field] = errors.get(row.field, 0) + 1
    return errors


def _cost(errors: Mapping[str, int], priced: Mapping[str, float]) -> float:
    return sum(count * priced[field] for field, count in errors.items())


def _max_document_cost(priced: Mapping[str, float], seen: list[float], scores: Any) -> float:
    """The maximum cost of a document: all fields wrong in the document with the most fields."""
    most = max((sum(priced.get(row.field, 0.0) for row in ScoreView.of(score).fields) for score in scores), default=0.0)
    return max([most, *seen, 1e-9])


def _total(errors: list[dict[str, int]], field: str) -> int:
    return sum(of_document.get(field, 0) for of_document in errors)


def mean_cost(
    costs: list[float], max_cost: float, confidence: float = 0.95, families: Sequence[Hashable] | None = None
) -> Amount:
    """The mean cost of a document. ``max_cost``: of one document, for the interval where few documents have no error
    (``stats.share_interval``). ``families``: one for each document; None: each is its own.
    """
    low, high = share_interval(costs, [max_cost] * len(costs), families=families, confidence=confidence)
    return Amount(sum(costs) / len(costs), low * max_cost, high * max_cost)


def mean_difference(
    before: list[float], after: list[float], confidence: float = 0.95, families: Sequence[Hashable] | None = None
) -> Amount:
    """Mean of after - before over the same documents; each end is a bound at half the error level."""
    scale = max(*before, *after, 1e-9)
    old, new = [1 - cost / scale for cost in before], [1 - cost / scale for cost in after]
    loss = paired_loss(old, new, families=families, confidence=(1 + confidence) / 2)
    return Amount(loss.estimate * scale, -loss.flipped().value * scale, loss.value * scale)
