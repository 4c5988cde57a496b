"""What errors cost: a candidate against the incumbent, in the contract's currency, with intervals. Pure.

A wrong field costs what ``x-slm`` says (``"cost": 5.0``); what a document costs is the sum over its wrong fields, and
an output that cannot be read has all of them wrong. Intervals resample whole documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.scores.score_view import CORRECT_OUTCOMES, ScoreView
from evaluation.stats import paired_loss, share_interval
from evaluation.stats.resampling import RESAMPLES

#: from so many documents on fewer resamples say as much
MANY_DOCUMENTS = 2_000


@dataclass(frozen=True)
class Amount:
    """An amount with its two-sided interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Amount":
        """The same for so many documents."""
        return Amount(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class FieldCost:
    """One field: what an error costs, how many documents have how many errors, and what that is per document."""

    field: str
    cost: float
    candidate_errors: int
    incumbent_errors: int | None
    candidate: float
    incumbent: float | None


@dataclass(frozen=True)
class ErrorCostReport:
    """Costs of errors per document. ``difference`` is candidate less incumbent: below zero the candidate is cheaper.

    ``documents``: those of the candidate, or those that both have where there is an incumbent.
    """

    documents: int
    confidence: float
    candidate: Amount
    incumbent: Amount | None
    difference: Amount | None
    fields: tuple[FieldCost, ...]


def error_costs(
    costs: Mapping[str, float],
    candidate: Mapping[Any, Any],
    incumbent: Mapping[Any, Any] | None = None,
    *,
    confidence: float = 0.95,
) -> ErrorCostReport | None:
    """What the errors of two models cost per document, on the documents both have.

    Args:
        costs: field pattern -> what one error costs; fields that are not named cost nothing.
        candidate: document id -> score; a DocumentScore or its stored dict.
        incumbent: the same of the model in use.
        confidence: of the intervals.

    Returns:
        None if no field has a cost, or there is no document.
    """
    priced = {field: float(cost) for field, cost in costs.items() if cost > 0}
    keys = [key for key in candidate if incumbent is None or key in incumbent]
    if not priced or not keys:
        return None
    now = [_errors(candidate[key], priced) for key in keys]
    before = None if incumbent is None else [_errors(incumbent[key], priced) for key in keys]
    after_costs = [_cost(errors, priced) for errors in now]
    before_costs = None if before is None else [_cost(errors, priced) for errors in before]
    return ErrorCostReport(
        documents=len(keys),
        confidence=confidence,
        candidate=mean_cost(after_costs, _max_document_cost(priced, after_costs, candidate.values()), confidence),
        incumbent=None
        if before_costs is None or incumbent is None
        else mean_cost(before_costs, _max_document_cost(priced, before_costs, incumbent.values()), confidence),
        difference=None if before_costs is None else mean_difference(before_costs, after_costs, confidence),
        fields=tuple(_field_cost(field, cost, now, before) for field, cost in priced.items()),
    )


def _errors(score: Any, priced: Mapping[str, float]) -> dict[str, int]:
    """Field -> how often it is wrong in a document."""
    found: dict[str, int] = {}
    for row in ScoreView.of(score).fields:
        if row.field in priced and row.outcome not in CORRECT_OUTCOMES:
            found[row.field] = found.get(row.field, 0) + 1
    return found


def _cost(errors: Mapping[str, int], priced: Mapping[str, float]) -> float:
    return sum(count * priced[field] for field, count in errors.items())


def _max_document_cost(priced: Mapping[str, float], seen: list[float], scores: Any) -> float:
    """What a document can cost at the most: everything wrong in the one with the most to get wrong."""
    most = max((sum(priced.get(row.field, 0.0) for row in ScoreView.of(score).fields) for score in scores), default=0.0)
    return max([most, *seen, 1e-9])


def _field_cost(field: str, cost: float, now: list[dict[str, int]], before: list[dict[str, int]] | None) -> FieldCost:
    after = sum(errors.get(field, 0) for errors in now)
    earlier = None if before is None else sum(errors.get(field, 0) for errors in before)
    per_document = cost / len(now)
    return FieldCost(
        field, cost, after, earlier, after * per_document, None if earlier is None else earlier * per_document
    )


def mean_cost(costs: list[float], dearest: float, confidence: float = 0.95) -> Amount:
    """The mean cost of a document. No error among few documents is no proof that there will be none
    (``stats.share_interval``): ``dearest`` is what one could cost.
    """
    low, high = share_interval(costs, [dearest] * len(costs), confidence=confidence, resamples=_resamples(len(costs)))
    return Amount(sum(costs) / len(costs), low * dearest, high * dearest)


def mean_difference(before: list[float], after: list[float], confidence: float = 0.95) -> Amount:
    """Mean of after - before over the same documents; each end a bound at half the error."""
    scale = max(*before, *after, 1e-9)
    old, new = [1 - cost / scale for cost in before], [1 - cost / scale for cost in after]
    one_sided = (1 + confidence) / 2
    dearer = paired_loss(old, new, confidence=one_sided, resamples=_resamples(len(old)))
    cheaper = paired_loss(new, old, confidence=one_sided, resamples=_resamples(len(old)))
    return Amount(dearer.estimate * scale, -cheaper.value * scale, dearer.value * scale)


def _resamples(documents: int) -> int:
    return RESAMPLES if documents <= MANY_DOCUMENTS else 999
