"""Shared by the statistics: the default alpha, the search for a sample size, and the check of counts."""

from collections.abc import Callable
from typing import Literal

ALPHA = 0.05
MAX_DOCUMENTS = 2**40
Tail = Literal["less", "greater"]


def check_counts(k: int, n: int) -> None:
    """Raises ValueError where ``k`` of ``n`` is not a count."""
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a count")


def smallest_clearing(clears: Callable[[int], bool], start: int) -> int | None:
    """The smallest n >= start that clears, by doubling and halving; None beyond ``MAX_DOCUMENTS``."""
    low, high = start, max(start, 1)
    while not clears(high):
        low, high = high, high * 2
        if high > MAX_DOCUMENTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if clears(middle) else (middle, high)
    return high
