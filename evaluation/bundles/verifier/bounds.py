"""Bounds of rates, quantiles, shares, differences and means, from their definitions."""

import cmath
import math
from collections import Counter
from collections.abc import Callable, Sequence

_STEPS = 200
#: points of the integral, and where it ends
_POINTS, _REACH = 400, 24.0
#: for rounding in other libraries
_TOLERANCE = 1e-6


def binomial_tail(k: int, n: int, rate: float) -> float:
    """P(X <= k) of a binomial distribution."""
    if k >= n or rate <= 0:
        return 1.0
    if rate >= 1 or k < 0:
        return 0.0
    log_rate, log_rest, log_n = math.log(rate), math.log1p(-rate), math.lgamma(n + 1)
    terms = (
        log_n - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_rate + (n - i) * log_rest for i in range(k + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def _rate_where(k: int, n: int, tail: float) -> float:
    """The rate at which P(X <= k) is ``tail``; it falls as the rate grows."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if binomial_tail(k, n, middle) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def exact_lower(k: int, n: int, confidence: float) -> float:
    """The one-sided lower bound of Clopper and Pearson (1934): at it, k or more of n have the chance 1 - confidence."""
    return 0.0 if k == 0 else _rate_where(k - 1, n, confidence)


def exact_upper(k: int, n: int, confidence: float) -> float:
    """The one-sided upper bound: at it, k or fewer of n have the chance 1 - confidence."""
    return 1.0 if k == n else _rate_where(k, n, 1 - confidence)


def quantile_upper(values: Sequence[float], p: float, confidence: float) -> float | None:
    """The smallest value that is at or above the ``p`` quantile with this confidence; None for too few values.

    The j-th smallest of n values is below the quantile with a chance of P(X >= j), X ~ B(n, p) (Conover 1999, 3.2).
    """
    ordered = sorted(values)
    for place in range(1, len(ordered) + 1):
        if binomial_tail(place - 1, len(ordered), p) >= confidence:
            return ordered[place - 1]
    return None


def quantile_lower(values: Sequence[float], p: float, confidence: float) -> float | None:
    """The largest value that is at or below the ``p`` quantile with this confidence; None for too few values."""
    ordered = sorted(values)
    for place in range(len(ordered), 0, -1):
        if binomial_tail(place - 1, len(ordered), p) <= 1 - confidence:
            return ordered[place - 1]
    return None


# -- whole families, and documents with fields -------------------------------------------------------------------------

Count = tuple[float, float]


def family_p_value(counts: Sequence[Count], limit: float) -> float:
    """The chance that sum(part * G) / sum(whole * G) exceeds ``limit``, with exponential weights G (Gaffke 2005).

    One unseen unit is counted, which fails as a whole, of the size sum(whole^4) / sum(whole^3). 1 where the ratio
    without weights is not below the limit. The upper bound of the ratio is the limit at which this is 1 - confidence.
    """
    if not counts or math.fsum(part for part, _ in counts) >= limit * math.fsum(whole for _, whole in counts):
        return 1.0
    unseen = math.fsum(whole**4 for _, whole in counts) / math.fsum(whole**3 for _, whole in counts)
    return chance_above_zero([*(part - limit * whole for part, whole in counts), unseen * (1 - limit)])


def mean_p_value(values: Sequence[float], limit: float) -> float:
    """The chance that the mean of values with exponential weights exceeds ``limit``, the largest one counted twice."""
    if math.fsum(values) >= limit * len(values):
        return 1.0
    return chance_above_zero([*(value - limit for value in values), max(values) - limit])


def chance_above_zero(factors: Sequence[float]) -> float:
    """P(sum(factor * G) > 0) for independent exponential G, by inversion of the moment generating function along the
    line through its saddle point (Lugannani and Rice 1980)."""
    weights = Counter(factors)
    top = max(weights)
    if top <= 0:
        return 0.0
    if min(weights) >= 0:
        return 1.0
    low, high = 0.0, 1 / top
    for _ in range(60):
        middle = (low + high) / 2
        slope = math.fsum(weight * factor / (1 - factor * middle) for factor, weight in weights.items())
        low, high = (middle, high) if slope < 1 / middle else (low, middle)
    point = (low + high) / 2
    ratios = [(factor / (1 - factor * point), weight) for factor, weight in weights.items()]
    size = -math.fsum(weight * math.log1p(-factor * point) for factor, weight in weights.items())
    width = 1 / math.sqrt(math.fsum(weight * ratio * ratio for ratio, weight in ratios) + 1 / point**2)
    total = []
    for step in range(_POINTS):
        place = _REACH * step / (_POINTS - 1)
        rise = width * math.sinh(place)
        fall = math.fsum(weight * math.log1p((ratio * rise) ** 2) for ratio, weight in ratios) / 2
        if size - fall < -80:  # the rest of the line adds nothing
            break
        turn = math.fsum(weight * math.atan(ratio * rise) for ratio, weight in ratios)
        value = (cmath.exp(complex(size - fall, turn)) / complex(point, rise)).real * width * math.cosh(place)
        total.append(value / 2 if step == 0 else value)
    return math.fsum(total) * _REACH / (_POINTS - 1) / math.pi


def is_upper(
    p_values: Sequence[Callable[[float], float]], stored: float, confidence: float, largest: float = 1.0
) -> bool:
    """Whether the widest bound of these p-values, each of a limit, is the stored one; none is above ``largest``."""
    off, alpha = _TOLERANCE * largest, 1 - confidence
    return (stored + off >= largest or all(one(stored + off) <= alpha for one in p_values)) and any(
        one(stored - off) >= alpha for one in p_values
    )
