"""The chance that further documents prove a rate, and how many documents have a wanted chance. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.stats.common import MAX_DOCUMENTS, check_counts
from evaluation.stats.sample_size import minimum_sizes

#: the usual chance that a planned sample proves what is true
POWER = 0.8
_MAX_FAILURES = 4096


@dataclass(frozen=True)
class Outlook:
    """The ``chance`` that a sample proves what is to be proven if documents are right at ``rate`` (None: at the current
    rate of a bound that is estimated), and how many documents are ``enough`` for ``POWER``; None where no number is."""

    rate: float | None
    chance: float
    enough: int | None


def outlook(k: int, n: int, more: int, threshold: float, alpha: float) -> Outlook:
    """The outlook of ``more`` documents beyond ``k`` right of ``n``: do they prove at least ``threshold`` at ``alpha``?

    The rate is assumed to be the observed one. Without a failure it is assumed that half of the allowed failures occur,
    because no model is known to have none.
    """
    check_counts(k, n)
    rate = k / n if k < n else (1 + threshold) / 2
    return Outlook(
        rate=rate,
        chance=pass_chance(k, n, more, threshold, alpha, rate),
        enough=documents_with_power(k, n, threshold, alpha, rate),
    )


def estimated_outlook(n: int, more: int, alpha: float) -> Outlook:
    """The outlook of a bound that ``more`` documents beyond ``n`` bring to its threshold at the current estimate.

    The new estimate is as likely above as below the current one, so the chance is a half. For ``POWER`` the distance to
    the threshold has to be its quantile larger (normal approximation).
    """
    from scipy.stats import norm

    reach = float(norm.ppf(1 - alpha))
    total = (n + more) * ((reach + float(norm.ppf(POWER))) / reach) ** 2
    return Outlook(rate=None, chance=0.5, enough=math.ceil(total) - n)


def pass_chance(k: int, n: int, more: int, threshold: float, alpha: float, rate: float) -> float:
    """The probability that ``more`` documents, each right with probability ``rate``, prove a rate of at least
    ``threshold`` at ``alpha``, together with ``k`` right of ``n``."""
    from scipy.stats import binom

    total = n + more
    allowed = int(binom.ppf(alpha, total, 1 - threshold))
    if binom.cdf(allowed, total, 1 - threshold) > alpha:
        allowed -= 1
    spare = allowed - (n - k)
    return float(binom.cdf(spare, more, 1 - rate)) if spare >= 0 else 0.0


def documents_with_power(
    k: int, n: int, threshold: float, alpha: float, rate: float, power: float = POWER
) -> int | None:
    """The smallest number of further documents that prove the rate with probability ``power``; None where there is none
    below ``MAX_DOCUMENTS``."""
    if rate <= threshold:
        return None
    failed = n - k
    for first in range(failed, failed + _MAX_FAILURES, 256):
        failures = range(first, first + 256)
        sizes = minimum_sizes(failures, threshold, alpha)
        enough = _first_with(power, sizes - n, [number - failed for number in failures], rate)
        if enough is not None:
            return enough if enough + n <= MAX_DOCUMENTS else None
        if sizes[-1] > MAX_DOCUMENTS:
            return None
    return None


def _first_with(power: float, more: Any, spare: Sequence[int], rate: float) -> int | None:
    """The first of these samples, each with its allowed failures, that has the power."""
    import numpy as np
    from scipy.stats import binom

    drawn = np.maximum(more, 0)
    reached = np.flatnonzero(binom.cdf(np.asarray(spare), drawn, 1 - rate) >= power)
    return int(drawn[reached[0]]) if len(reached) else None
