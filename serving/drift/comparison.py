"""Tests whether two samples of profiles differ, with a stated rate of false alarms. Pure.

Each metric has a p-value that is valid at any sample size: of numbers the exact two-sample Kolmogorov-Smirnov test, of
categories Fisher's exact test of each against the rest, times their number. Categories are chosen from both samples
together, which does not favor either. Metrics are adjusted by Holm, and an alarm takes an adjusted p-value of
``LEVEL`` or less. A project is checked once a day, so by the union bound the chance of any false alarm within
``PERIOD_DAYS`` days, over all metrics, is at most ``PERIOD_LEVEL``, whether or not the checks are independent: all of
them use the same documents of the evaluation.

A difference must also be large enough to matter (``MIN_DISTANCE``, ``MIN_SHARE``), so false alarms are rarer still.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from serving.drift.profiles import Profile, Value

PERIOD_DAYS = 90
PERIOD_LEVEL = 0.05
LEVEL = PERIOD_LEVEL / PERIOD_DAYS
#: differences that matter: of two distribution functions at one place, and of two shares
MIN_DISTANCE = 0.1
MIN_SHARE = 0.05
#: values of a metric in each sample, for a test
MIN_VALUES = 20
#: the most frequent categories that are tested; the others count as one
MAX_CATEGORIES = 10
OTHER = "other"


@dataclass(frozen=True)
class Finding:
    """A metric compared. ``effect``: the largest difference of the distribution functions, or of a category's share.

    ``reference`` and ``live``: medians, or shares of ``category``. ``changed``: significant and large enough.
    """

    metric: str
    kind: str
    p: float
    adjusted: float
    effect: float
    reference: float
    live: float
    reference_count: int
    live_count: int
    category: str = ""
    changed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare(reference: Sequence[Profile], live: Sequence[Profile], *, level: float = LEVEL) -> list[Finding]:
    """Every metric that both samples have, the smallest p-value first."""
    names = sorted({name for one in reference for name in one.values} & {name for one in live for name in one.values})
    found = []
    for name in names:
        before = [one.values[name] for one in reference if name in one.values]
        after = [one.values[name] for one in live if name in one.values]
        if min(len(before), len(after)) >= MIN_VALUES:
            found.append(_compared(name, before, after))
    return _adjusted(sorted(found, key=lambda one: one.p), level)


def _compared(name: str, before: Sequence[Value], after: Sequence[Value]) -> Finding:
    if all(isinstance(one, float) for one in (*before, *after)):
        return numbers(name, [float(one) for one in before], [float(one) for one in after])
    if all(isinstance(one, bool) for one in (*before, *after)):
        return shares(name, [str(one) for one in before], [str(one) for one in after], only="True")
    return shares(name, [str(one) for one in before], [str(one) for one in after])


def numbers(name: str, before: Sequence[float], after: Sequence[float]) -> Finding:
    """The two-sample Kolmogorov-Smirnov test; with ties it is conservative."""
    from scipy import stats  # takes a second, and pages do not test

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # falls back to the asymptotic distribution
        result = stats.ks_2samp(before, after, method="auto")
    return Finding(
        name, "number", float(result.pvalue), 1.0, float(result.statistic), float(median(before)),
        float(median(after)), len(before), len(after),
    )  # fmt: skip


def shares(name: str, before: Sequence[str], after: Sequence[str], *, only: str = "") -> Finding:
    """Fisher's exact test of each category, or of ``only`` one, times their number; the one with the smallest p."""
    first, second = Counter(before), Counter(after)
    frequent = [one for one, _ in (first + second).most_common(MAX_CATEGORIES)]
    other = set(first | second) - set(frequent)
    if other:
        frequent.append(OTHER)
        for counts in (first, second):
            counts[OTHER] += sum(counts[one] for one in other if one != OTHER)
    tested = [only] if only else frequent
    n, m = len(before), len(after)
    found = [(fisher(first[one], n, second[one], m), one) for one in tested]
    p, category = min(found)
    reference, live = first[category] / n, second[category] / m
    return Finding(
        name, "share", min(1.0, p * len(tested)), 1.0, abs(live - reference), reference, live, n, m, category
    )


def fisher(k: int, n: int, j: int, m: int) -> float:
    """The p-value of k of n against j of m, two-sided by doubling the smaller tail."""
    from scipy import stats

    tail = stats.hypergeom(n + m, k + j, n)
    return float(min(1.0, 2 * min(tail.cdf(k), tail.sf(k - 1))))


def _adjusted(found: list[Finding], level: float) -> list[Finding]:
    """Holm: the i-th smallest of k p-values times k - i + 1, never falling."""
    adjusted, highest = [], 0.0
    for index, one in enumerate(found):
        highest = max(highest, min(1.0, one.p * (len(found) - index)))
        matters = one.effect >= (MIN_DISTANCE if one.kind == "number" else MIN_SHARE)
        values = {**one.as_dict(), "adjusted": highest, "changed": highest <= level and matters}
        adjusted.append(Finding(**values))
    return adjusted
