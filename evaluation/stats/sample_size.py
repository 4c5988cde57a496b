"""The price of proof: how many more documents, with how many failures allowed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.stats.common import ALPHA, MOST_DOCUMENTS, check_counts
from evaluation.stats.rates import exact_lower

MOST_FAILURES = 4096


@dataclass(frozen=True)
class Price:
    """What a proof would take: this many ``more`` documents, at most ``allowed_failures`` of them failing."""

    more: int
    allowed_failures: int


def documents_for(failures: int, threshold: float, alpha: float = ALPHA) -> int | None:
    """How many documents prove a rate of at least ``threshold`` with ``failures`` among them; None: none do.

    The smallest n whose one-sided exact lower bound at level ``alpha`` reaches the threshold (299 for 99 %
    and none).
    """
    if failures < 0:
        raise ValueError("failures are not negative")
    if threshold >= 1.0:
        return None
    size = int(_sizes([failures], threshold, alpha)[0])
    return size if size <= MOST_DOCUMENTS else None


def documents_needed(k: int, n: int, threshold: float, alpha: float = ALPHA) -> Price | None:
    """What it takes, beyond ``k`` good of ``n``, to prove a rate of at least ``threshold``.

    The smallest number of further documents whose allowed failures cover what the failure rate seen so far
    will bring (rounded down). ``Price(0, 0)`` where it is proven already. None where the observed rate does
    not clear the threshold, or clears it so narrowly that thousands of failures would have to be seen: more
    documents are no way then. For "an error rate of at most p" count the documents without error and ask for
    1 - p.
    """
    check_counts(k, n)
    if threshold >= 1.0:
        return None
    if n and exact_lower(k, n, 1 - alpha) >= threshold:
        return Price(0, 0)
    failed = n - k
    if n and k / n <= threshold:
        return None
    for first in range(failed, failed + MOST_FAILURES, 256):
        failures = range(first, first + 256)
        for allowed, size in zip(failures, _sizes(failures, threshold, alpha), strict=True):
            more = max(int(size) - n, 0)
            expected = failed * more // n if n else 0
            if size <= MOST_DOCUMENTS and more > 0 and expected <= allowed - failed:
                return Price(more, allowed - failed)
    return None


def _sizes(failures: Sequence[int], threshold: float, alpha: float) -> Any:
    """For each number of failures the smallest n with P(no more fail | rate = threshold) <= alpha."""
    import numpy as np
    from scipy.stats import binom

    allowed = np.asarray(failures, dtype=np.int64)
    rate = 1.0 - threshold
    low, high = allowed.copy(), np.full(len(allowed), 2 * MOST_DOCUMENTS, dtype=np.int64)
    while (high - low > 1).any():  # low never proves it, high does
        middle = (low + high) // 2
        proves = binom.cdf(allowed, middle, rate) <= alpha
        low, high = np.where(proves, low, middle), np.where(proves, middle, high)
    return high
