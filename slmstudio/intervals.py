"""Confidence intervals of rates. Pure, without scipy: contract, labeling and evaluation share them."""

from math import sqrt
from statistics import NormalDist

Interval = tuple[float, float]

#: the 97.5 % point of the normal distribution; ``NormalDist`` differs from it in the last digit
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
