"""Required sample sizes: how many more documents, and how many failures among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.stats.common import ALPHA, MAX_DOCUMENTS, check_counts
from evaluation.stats.rates import exact_lower

MAX_FAILURES = 4096


@dataclass(frozen=True)
class RequiredSample:
    """The sample that would prove a rate: ``more`` documents, at most ``allowed_failures`` of them failing."""

    more: int
    allowed_failures: int


def sample_size_for(failures: int, threshold: float, alpha: float = ALPHA) -> int | None:
    """How many documents prove a rate of at least ``threshold`` with ``failures`` among them; None: no number does.

    The smallest n whose one-sided exact lower bound at level ``alpha`` reaches the threshold (299 for 99%
    and none).
    """
    if failures < 0:
        raise ValueError("failures are not negative")
    if threshold >= 1.0:
        return None
    size = int(minimum_sizes([failures], threshold, alpha)[0])
    return size if size <= MAX_DOCUMENTS else None


def additional_sample_size(k: int, n: int, threshold: float, alpha: float = ALPHA) -> RequiredSample | None:
    """The sample that proves a rate of at least ``threshold``, beyond ``k`` good of ``n``.

    The smallest number of further documents whose allowed failures cover those expected at the current failure rate
    (rounded down). ``RequiredSample(0, 0)`` where it is proven already. None where the observed rate does
    not clear the threshold, or clears it so narrowly that thousands of failures would be needed. For an error rate of
    at most p, count the documents without an error and use 1 - p.
    """
    check_counts(k, n)
    if threshold >= 1.0:
        return None
    if n and exact_lower(k, n, 1 - alpha) >= threshold:
        return RequiredSample(0, 0)
    failed = n - k
    if n and k / n <= threshold:
        return None
    for first in range(failed, failed + MAX_FAILURES, 256):
        failures = range(first, first + 256)
        for allowed, size in zip(failures, minimum_sizes(failures, threshold, alpha), strict=True):
            more = max(int(size) - n, 0)
            expected = failed * more // n if n else 0
            if size <= MAX_DOCUMENTS and more > 0 and expected <= allowed - failed:
                return RequiredSample(more, allowed - failed)
    return None


def minimum_sizes(failures: Sequence[int], threshold: float, alpha: float) -> Any:
    """For each number of failures the smallest n with P(no more fail | rate = threshold) <= alpha."""
    import numpy as np
    from scipy.stats import binom

    allowed = np.asarray(failures, dtype=np.int64)
    rate = 1.0 - threshold
    most = 2 * MAX_DOCUMENTS
    low, high = allowed.copy(), np.minimum(2 * allowed + 2, most)
    while not (done := (high >= most) | (binom.cdf(allowed, high, rate) <= alpha)).all():
        low, high = np.where(done, low, high), np.where(done, high, np.minimum(2 * high, most))
    while (high - low > 1).any():  # low never proves it, high does
        middle = (low + high) // 2
        proves = binom.cdf(allowed, middle, rate) <= alpha
        low, high = np.where(proves, low, middle), np.where(proves, middle, high)
    return high
