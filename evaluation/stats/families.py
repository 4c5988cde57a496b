"""Bounds of rates and means where documents come in families: of one supplier, one source, or near-duplicates.

Documents of one family succeed or fail together, so a hold-out of 20 families of five documents knows about 20 things.
What is drawn at random is the family; a new one may be unlike all that were seen.

``family_upper`` bounds a ratio over families, sum(part) / sum(whole), without an assumption about parts and sizes. Each
family gets a random weight, exponentially distributed, and one unseen family more is counted, which fails as
a whole. The bound is the quantile of the weighted ratio (Gaffke, "Three test statistics for a nonparametric one-sided
hypothesis on the mean of a nonnegative variable", Math. Methods of Statistics 14, 2005; Learned-Miller and Thomas,
arXiv:1905.06208). For families of one document that are right or wrong it is the bound of Clopper and Pearson, to nine
digits; that it holds for other values is a conjecture without a known counterexample, which simulations support.
Without a failure, G families of one size prove what G documents prove.

The unseen family is one of the larger ones: its size is sum(whole**4) / sum(whole**3). With the mean size of a
document's family, sum(whole**2) / sum(whole), a gate passes falsely too often where larger families fail more; with the
size of the largest it hardly passes at all where sizes differ (``bench.family_simulation``).

The quantile is computed, not simulated: the weighted ratio exceeds t where a sum of independent gamma variables exceeds
zero, whose probability is one integral (Lugannani and Rice 1980, without their approximation).
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

#: steps of the integral: the bounds agree with Clopper and Pearson's to nine digits
_STEPS = 400
_REACH = 24.0


class FamilyCount(NamedTuple):
    """The sums of a family over its documents: what failed (or was lost), of how much; and how many documents."""

    part: float
    whole: float
    documents: int = 1


def by_family(rows: Iterable[tuple[Hashable, float, float]]) -> tuple[FamilyCount, ...]:
    """The counts of families, from (family, part, whole) of each document, in their order."""
    counts: dict[Hashable, FamilyCount] = {}
    for family, part, whole in rows:
        old = counts.get(family, FamilyCount(0.0, 0.0, 0))
        counts[family] = FamilyCount(old.part + part, old.whole + whole, old.documents + 1)
    return tuple(counts.values())


def family_upper(counts: Sequence[tuple[float, ...]], confidence: float = 0.95, times: float = 1.0) -> float:
    """The one-sided upper bound of sum(part) / sum(whole) over the families that the counted ones were drawn from.

    ``counts``: (part, whole) of each family, with a positive whole, and a part of at most that (negative: a gain). 1.0
    without any. ``times``: the bound for so many times as many families like these.
    """
    part, whole, weights, estimate = _weighted(counts, times)
    if estimate >= 1.0:
        return 1.0
    return _solve(lambda t: _positive(part - t * whole, weights), estimate, 1.0, 1 - confidence)


def family_p_value(counts: Sequence[tuple[float, ...]], limit: float, times: float = 1.0) -> float:
    """The p-value of the hypothesis that the ratio is ``limit`` or more: at most 1 - confidence exactly where
    ``family_upper`` is at most the limit."""
    part, whole, weights, estimate = _weighted(counts, times)
    return 1.0 if estimate >= limit else _positive(part - limit * whole, weights)


def weighted_mean_upper(values: Sequence[float], confidence: float = 0.95) -> float:
    """The quantile of the mean of values with exponential weights, the largest one counted twice."""
    import numpy as np

    distinct, numbers = np.unique(np.asarray(values, dtype=float), return_counts=True)
    weights = numbers.astype(float)
    weights[-1] += 1
    low, high = math.fsum(values) / len(values), float(distinct[-1])
    return high if low >= high else _solve(lambda t: _positive(distinct - t, weights), low, high, 1 - confidence)


def family_lower(counts: Sequence[tuple[float, ...]], confidence: float = 0.95) -> float:
    """The one-sided lower bound of the same ratio, of parts that are not negative."""
    return 1.0 - family_upper([(row[1] - row[0], row[1]) for row in counts], confidence)


def effective_documents(rate: float, upper: float, n: float, confidence: float = 0.95) -> float:
    """How many independent documents with this rate of failures have this upper bound; at most ``n``."""
    from scipy.optimize import brentq
    from scipy.stats import beta

    def excess(size: float) -> float:
        failures = rate * size
        return float(beta.ppf(confidence, failures + 1, max(size - failures, 1e-9))) - upper

    if rate >= 1.0 or excess(n) >= 0:
        return n
    return float(brentq(excess, 1e-6, n, xtol=1e-6)) if excess(1e-6) > 0 else 0.0


def _weighted(counts: Sequence[tuple[float, ...]], times: float = 1.0) -> tuple[Any, Any, Any, float]:
    """Parts, wholes and weights, equal families as one with their number as weight (``times`` that) and the unseen
    one; and the ratio, 1.0 without families."""
    import numpy as np

    if not counts:
        return np.ones(1), np.ones(1), np.ones(1), 1.0
    table = np.asarray([(row[0], row[1]) for row in counts], dtype=float)
    pairs, numbers = np.unique(table, axis=0, return_counts=True)
    unseen = (table[:, 1] ** 4).sum() / (table[:, 1] ** 3).sum()
    part, whole = np.append(pairs[:, 0], unseen), np.append(pairs[:, 1], unseen)
    return part, whole, np.append(times * numbers, 1.0), float(table[:, 0].sum() / table[:, 1].sum())


def _solve(p_value: Callable[[float], float], low: float, high: float, alpha: float) -> float:
    """Where a p-value that falls from ``low`` to ``high`` is ``alpha``; ``low`` where it is not above that there."""
    from scipy.optimize import brentq

    def excess(t: float) -> float:  # on a log scale, where it is almost a parabola
        return math.log(max(p_value(t) / alpha, 1e-6))

    return float(brentq(excess, low, high, xtol=1e-10 * (high - low))) if excess(low) > 0 else low


def _positive(factors: Any, weights: Any) -> float:
    """The probability that sum(factor * G) is above 0, where each G is an independent gamma variable with its weight as
    shape: the inversion of its moment generating function along the line through the saddle point, where the integrand
    does not oscillate."""
    import numpy as np

    top = float(factors.max())
    if top <= 0:
        return 0.0
    if float(factors.min()) >= 0:
        return 1.0
    low, high = 0.0, 1 / top
    for _ in range(60):  # the saddle point, where the derivative of log(mgf) - log(s) is zero
        middle = (low + high) / 2
        if float((weights * factors / (1 - factors * middle)).sum()) < 1 / middle:
            low = middle
        else:
            high = middle
    point = (low + high) / 2
    ratios = factors / (1 - factors * point)
    width = 1 / math.sqrt(float((weights * ratios**2).sum()) + 1 / point**2)
    steps = np.linspace(0.0, _REACH, _STEPS)
    rises = width * np.sinh(steps)
    angles = np.outer(ratios, rises)  # log(1 - factor * (point + i rise)) in real numbers: a third of the time
    size = -float(weights @ np.log1p(-factors * point)) - weights @ np.log1p(angles * angles) / 2
    turn = weights @ np.arctan(angles)
    values = (np.exp(size + 1j * turn) / (point + 1j * rises)).real * width * np.cosh(steps)
    return float((values.sum() - values[0] / 2) * (steps[1] - steps[0]) / math.pi)
