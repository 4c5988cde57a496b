"""One rate with its interval and bounds, two rates on the same documents, two rates on different requests."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from evaluation.stats.common import check_counts


def exact_lower(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided exact lower bound of Clopper and Pearson (1934): the rate is at least this.

    That of ``scipy.stats.binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact")``, which searches
    for it; the quantile of the beta distribution is direct.
    """
    check_counts(k, n)
    if k == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(k, n - k + 1, 1 - confidence))


def exact_upper(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided exact upper bound: the rate is at most this (``alternative="less"``)."""
    check_counts(k, n)
    if k == n:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(k + 1, n - k, confidence))


def mcnemar_exact(fixed: int, broken: int) -> float:
    """The two-sided exact McNemar p-value of ``fixed`` and ``broken`` documents; 1.0 if none changed."""
    if fixed < 0 or broken < 0:
        raise ValueError("counts are not negative")
    if fixed + broken == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return float(min(1.0, mcnemar([[0, fixed], [broken, 0]], exact=True).pvalue))


def best_start_p_value(improved: Sequence[bool]) -> float:
    """The p-value of a gain at the start of an ordered sequence of changed documents, each ``improved`` or not, where
    the start was chosen by the same documents. 1.0 if none changed.

    The statistic is the lowest p-value of the one-sided sign tests of all starts; its distribution under fair coins is
    exact.
    """
    if not improved:
        return 1.0
    import numpy as np
    from scipy.special import bdtrc

    sizes = np.arange(1, len(improved) + 1)
    lowest = bdtrc(np.cumsum(improved) - 1, sizes, 0.5).min() * (1 + 1e-9)
    others = np.ones(1)  # probability by improved documents, of the sequences without a start as good as that
    for size in sizes:
        others = (np.append(others, 0) + np.append(0, others)) / 2
        others[bdtrc(np.arange(size + 1) - 1, size, 0.5) <= lowest] = 0
    return float(1 - others.sum())


def difference_interval(k_a: int, n_a: int, k_b: int, n_b: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of rate B - rate A on different requests (a canary and the stable model).

    ``(-1.0, 1.0)`` where either has none.

    Newcombe's hybrid score interval (1998, method 10), which is also valid at rates of 0 and 1: ``statsmodels.stats
    .proportion.confint_proportions_2indep(k_b, n_b, k_a, n_a, method="newcomb")``.
    """
    check_counts(k_a, n_a)
    check_counts(k_b, n_b)
    if not (n_a and n_b):
        return -1.0, 1.0
    from statsmodels.stats.proportion import confint_proportions_2indep

    with _quiet():
        low, high = confint_proportions_2indep(k_b, n_b, k_a, n_a, method="newcomb", alpha=1 - confidence)
    return float(low), float(high)


@dataclass(frozen=True)
class Canary:
    """p-values of two claims about different requests: B is ``not_worse`` than A by a margin, or the two are ``alike``:
    neither is worse than the other by the margin. 1.0 where there are no requests.
    """

    not_worse: float
    alike: float


def canary(k_a: int, n_a: int, k_b: int, n_b: int, margin: float) -> Canary:
    """Tests a canary (B) against the stable model (A): ``k`` good of ``n`` requests each, ``margin`` of the difference.

    Score tests with Miettinen and Nurminen's variance (1985): ``statsmodels.stats.proportion.tost_proportions_2indep``,
    of which ``not_worse`` is the lower of its two one-sided tests.
    """
    check_counts(k_a, n_a)
    check_counts(k_b, n_b)
    if not 0 < margin < 1:
        raise ValueError("the margin must be between 0 and 1")
    if not (n_a and n_b):
        return Canary(1.0, 1.0)
    from statsmodels.stats.proportion import tost_proportions_2indep

    with _quiet():
        tests = tost_proportions_2indep(k_b, n_b, k_a, n_a, low=-margin, upp=margin, method="score")
    return Canary(float(tests.results_larger.pvalue), float(tests.pvalue))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings about ratios, which statsmodels also computes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
