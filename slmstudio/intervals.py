"""Confidence intervals of rates. Pure; contract, labeling and evaluation share them."""

from collections.abc import Sequence
from math import inf, sqrt
from statistics import NormalDist

Interval = tuple[float, float]

#: the 97.5% point of the normal distribution; ``NormalDist`` differs from it in the last digit
_Z_95 = 1.959963984540054


def wilson(rate: float, n: float, confidence: float = 0.95) -> Interval:
    """The two-sided Wilson score interval (Wilson 1927) of a rate among ``n`` observations, from 0 to 1.

    ``n`` is above 0 and can be a fraction: an effective sample size. The interval of 0 starts at exactly 0, and that of
    1 ends at exactly 1.
    """
    z = _Z_95 if confidence == 0.95 else NormalDist().inv_cdf((1 + confidence) / 2)
    middle = rate + z * z / (2 * n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if rate == 0 else max(0.0, (middle - half) / scale)
    high = 1.0 if rate == 1 else min(1.0, (middle + half) / scale)
    return low, high


def effective_number(groups: Sequence[tuple[float, float]]) -> float:
    """How many independent observations a rate over groups rests on, from (part, whole) of each.

    The design effect: as many as vary as much as these groups do (Korn and Graubard 1998, with their factor for few
    groups). Where nothing varies, because all or none are right, each group is one, and large ones count for less
    (Kish 1965).
    """
    part, whole = sum(row[0] for row in groups), sum(row[1] for row in groups)
    if not whole:
        return 0.0
    if len(groups) < 2:
        return 1.0
    from scipy.special import stdtrit

    rate, number = part / whole, len(groups)
    effective = whole**2 / sum(row[1] ** 2 for row in groups)
    if 0 < part < whole:
        spread = sum((row[0] - rate * row[1]) ** 2 for row in groups) * number / (number - 1)
        effective = rate * (1 - rate) * whole**2 / spread if spread > 0 else inf
    return effective * float(_Z_95 / stdtrit(number - 1, 0.975)) ** 2
