"""Bounds of rates and quantiles, from their definitions."""

import math
from collections.abc import Sequence

_STEPS = 200


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
