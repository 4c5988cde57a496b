"""What a limit on confidence achieves: reliability, risk and coverage, and the limit for an error rate. Pure.

A *limit* accepts the values whose calibrated confidence is at least that high; the others go to people or to a larger
model. *Coverage* is the share of accepted values, *risk* the share of wrong ones among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.stats import exact_upper, wilson

#: error of the bound on the risk
ALPHA = 0.05
#: limits that are tried, from the strictest on: the fewest that show a curve
MAX_LIMITS = 200


@dataclass(frozen=True, slots=True)
class Scored:
    """The calibrated confidence of a value, and whether it is correct."""

    confidence: float
    is_correct: bool


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Values of similar confidence: their mean confidence, the share that is correct with its 95% interval."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit with its coverage and risk; ``bound``: one-sided upper 95% bound of the risk."""

    limit: float
    coverage: float
    risk: float
    bound: float
    accepted: int


def reliability(values: Sequence[Scored], bins: int = 10) -> list[ReliabilityBin]:
    """The reliability diagram, in bins of equal size."""
    ordered = sorted(values, key=lambda one: one.confidence)
    found = []
    for number in range(bins):
        part = ordered[number * len(ordered) // bins : (number + 1) * len(ordered) // bins]
        if part:
            right = sum(one.is_correct for one in part)
            low, high = wilson(right, len(part))
            mean = sum(one.confidence for one in part) / len(part)
            found.append(ReliabilityBin(mean, right / len(part), low, high, len(part)))
    return found


def calibration_error(values: Sequence[Scored], bins: int = 10) -> float:
    """The expected calibration error: the mean distance of confidence and accuracy over bins of equal size."""
    rows = reliability(values, bins)
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.confidence - row.accuracy) for row in rows) / total if total else 0.0


def curve(values: Sequence[Scored]) -> list[Limit]:
    """The risk-coverage curve from the strictest limit on; limits are confidences that occur."""
    ordered = sorted(values, key=lambda one: -one.confidence)
    places = [at for at in range(1, len(ordered) + 1) if at == len(ordered) or _differs(ordered, at)]
    step = max(1, len(places) // MAX_LIMITS)
    kept = sorted({*places[::step], *places[-1:]})
    found, wrong, done = [], 0, 0
    for at in kept:
        wrong += sum(not one.is_correct for one in ordered[done:at])
        done = at
        bound = exact_upper(wrong, at, 1 - ALPHA)
        found.append(Limit(ordered[at - 1].confidence, at / len(ordered), wrong / at, bound, at))
    return found


def _differs(ordered: Sequence[Scored], at: int) -> bool:
    return ordered[at - 1].confidence != ordered[at].confidence


def augrc(values: Sequence[Scored]) -> float:
    """The area under the generalized risk-coverage curve (Traub et al., 2024; arXiv:2407.01032): the mean over coverage
    of the share of all values that are accepted and wrong. 0 is perfect; accepting at random gives half the error rate.
    """
    ordered = sorted(values, key=lambda one: -one.confidence)
    wrong = area = 0
    for one in ordered:
        wrong += not one.is_correct
        area += wrong
    return area / len(ordered) ** 2 if ordered else 0.0


def limit_for(values: Sequence[Scored], risk: float) -> Limit | None:
    """The lowest limit whose risk is at most ``risk`` with 95% confidence; None where none is shown to be.

    Limits are tested in a fixed order from the strictest on, up to the first that fails, so that the confidence holds
    for the one that is returned (fixed-sequence testing; Angelopoulos et al., 2021; arXiv:2110.01052).
    """
    rows = curve(values)
    # Strict limits accept too few values to show anything; the sequence starts where zero errors could.
    first = next((at for at, row in enumerate(rows) if exact_upper(0, row.accepted, 1 - ALPHA) <= risk), None)
    best = None
    for row in rows[first:] if first is not None else []:
        if row.bound > risk:
            break
        best = row
    return best
