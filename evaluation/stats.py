"""The statistics behind comparisons and gates: intervals, tests, and what a proof would cost.

The document is the unit everywhere: fields of one document are right and wrong together, so resampling or
counting fields as if they were independent finds differences that are not there.

Nothing here knows of Django or of models. scipy and statsmodels are imported where they are called, because
the web process imports this module at start.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

ALPHA = 0.05
RESAMPLES = 4999
MOST_FAILURES = 4096
MOST_DOCUMENTS = 2**40
Side = Literal["less", "greater"]


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Wilson interval of a rate, for showing. ``(0.0, 1.0)`` where nothing was counted.

    Source: ``scipy.stats.binomtest(k, n).proportion_ci(confidence, "wilson")``.
    """
    _check_counts(k, n)
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(k, n).proportion_ci(confidence, "wilson")
    return float(interval.low), float(interval.high)


def exact_lower(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided exact (Clopper-Pearson) lower bound: the rate is at least this."""
    _check_counts(k, n)
    if n == 0:
        return 0.0
    from scipy.stats import binomtest

    return float(binomtest(k, n, alternative="greater").proportion_ci(confidence, "exact").low)


def exact_upper(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided exact (Clopper-Pearson) upper bound: the rate is at most this."""
    _check_counts(k, n)
    if n == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(k, n, alternative="less").proportion_ci(confidence, "exact").high)


def mcnemar_exact(fixed: int, broken: int) -> float:
    """The two-sided exact McNemar p-value of ``fixed`` against ``broken`` documents; 1.0 if none changed."""
    if fixed < 0 or broken < 0:
        raise ValueError("counts are not negative")
    if fixed + broken == 0:
        return 1.0
    from statsmodels.stats.contingency_tables import mcnemar

    return float(min(1.0, mcnemar([[0, fixed], [broken, 0]], exact=True).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted after Holm (1979) for "did any of these move?", in the order given.

    The values of ``statsmodels.stats.multitest.multipletests(p_values, method="holm")``, which is not called because
    it runs a full garbage collection each time: a tenth of a second in a web process.
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        reached = max(reached, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, reached)
    return adjusted


def look_level(look: int, alpha: float = ALPHA) -> float:
    """The level of the ``look``-th look at one hold-out, counted from 1: ``alpha / 2**look``.

    The levels of all looks together stay below ``alpha``, however often the hold-out grows and is looked at
    again.
    """
    if look < 1:
        raise ValueError("looks are counted from 1")
    return alpha / 2.0**look


# -- the price of proof ----------------------------------------------------------------------------


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
    _check_counts(k, n)
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


# -- bounds by bootstrap over documents ------------------------------------------------------------


@dataclass(frozen=True)
class LossBound:
    """An upper bound on an average loss over documents (losses between 0 and 1; a gain is a negative loss).

    A bootstrap cannot see what has not happened yet: with no loss among 40 documents every resample says
    "never", and a model that truly breaks 2 % of documents would pass a 2 % limit 43 times of 100. So
    ``margin`` adds what exact binomial bounds know beyond it: how much more often documents may lose than the
    resamples say (``severity``: the average loss of a document that loses, counting one unseen total loss),
    and how often a document may be worse than the ``worst`` one seen. With no loss seen the bound is the
    exact one on documents ("3 in n"); with many the margin fades out.
    """

    n: int
    estimate: float
    spread: float
    losing: int
    severity: float
    worst: float
    confidence: float

    @property
    def margin(self) -> float:
        """What the bootstrap leaves out because losing documents are rare."""
        return self._margin(self.losing, self.n)

    @property
    def value(self) -> float:
        """The bound: estimate + bootstrap spread + margin, at most 1."""
        return min(1.0, self.estimate + self.spread + self.margin) if self.n else 1.0

    def documents_for(self, limit: float) -> int | None:
        """About how many documents in all bring the bound to ``limit``, if they go on like these."""
        if self.n == 0 or self.estimate >= limit:
            return None

        def clears(n: int) -> bool:
            spread = self.spread * math.sqrt(self.n / n)
            return self.estimate + spread + self._margin(round(self.losing * n / self.n), n) <= limit

        return _smallest(clears, self.n)

    def _margin(self, losing: int, n: int) -> float:
        if n == 0:
            return 1.0
        from scipy.stats import binom

        unseen = exact_upper(losing, n, self.confidence) - float(binom.ppf(self.confidence, n, losing / n)) / n
        return max(unseen * self.severity, exact_upper(0, n, self.confidence) * (1 - self.worst))


def paired_loss(
    before: Sequence[float],
    after: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> LossBound:
    """Bounds how much worse ``after`` is than ``before`` on the same documents: the mean of before - after.

    Both hold one value between 0 and 1 per document, in the same order (1 = wholly right).
    """
    if len(before) != len(after):
        raise ValueError(f"paired documents are needed: {len(before)} against {len(after)}")
    losses = [float(a) - float(b) for a, b in zip(before, after, strict=True)]
    if any(not -1.0 <= loss <= 1.0 for loss in losses):
        raise ValueError("values lie between 0 and 1")
    estimate = sum(losses) / len(losses) if losses else 0.0
    upper = _bootstrap((losses,), _mean, "less", confidence, seed, resamples)
    return _loss_bound(losses, estimate, upper, confidence)


def paired_bootstrap_lower(
    before: Sequence[float],
    after: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> float:
    """The one-sided lower bound of mean(after - before), documents as the unit; the same every time.

    "Not worse by more than d" holds where this is above -d. Source: ``scipy.stats.bootstrap`` (BCa) over
    documents, less the margin of ``LossBound``. -1.0 where there is no document.
    """
    return -paired_loss(before, after, confidence=confidence, seed=seed, resamples=resamples).value


def share_loss(
    wrong: Sequence[float],
    counted: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> LossBound:
    """Bounds a share of fields, sum(wrong) / sum(counted), from above; both hold one number per document.

    Documents are resampled whole, with all their fields. Documents where nothing counts are left out.
    """
    pairs = [(float(w), float(c)) for w, c in zip(wrong, counted, strict=True) if c > 0]
    if any(not 0 <= w <= c for w, c in pairs):
        raise ValueError("no document has more wrong fields than fields")
    bad, all_ = [w for w, _ in pairs], [c for _, c in pairs]
    estimate = sum(bad) / sum(all_) if pairs else 0.0
    upper = _bootstrap((bad, all_), _ratio, "less", confidence, seed, resamples)
    return _loss_bound([w / c for w, c in pairs], estimate, upper, confidence)


def share_interval(
    part: Sequence[float],
    whole: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The two-sided interval of a share of fields, sum(part) / sum(whole), for showing; one number each per document.

    Documents are resampled whole. Each end is a bound of ``share_loss`` at half the error, so that all right (or none)
    among few documents is no point. ``(0.0, 1.0)`` where nothing counts.
    """
    rest = [w - p for p, w in zip(part, whole, strict=True)]
    low, high = (
        share_loss(counted, whole, confidence=(1 + confidence) / 2, seed=seed, resamples=resamples).value
        for counted in (rest, part)
    )
    return 1.0 - low, high


def mean_bound(
    values: Sequence[float],
    side: Side = "less",
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> float | None:
    """The one-sided bound of a mean: the upper one for ``less``, the lower one for ``greater``.

    The more careful of the bootstrap over requests and Student's t. None below two values: one says nothing
    of spread.
    """
    if len(values) < 2:
        return None
    from scipy.stats import sem, t

    mean, reach = sum(values) / len(values), float(sem(values)) * float(t.ppf(confidence, len(values) - 1))
    resampled = _bootstrap((list(values),), _mean, side, confidence, seed, resamples)
    return max(mean + reach, resampled) if side == "less" else min(mean - reach, resampled)


def _loss_bound(losses: list[float], estimate: float, upper: float, confidence: float) -> LossBound:
    lost = [loss for loss in losses if loss > 0]
    severity = (sum(lost) + 1.0) / (len(lost) + 1)
    return LossBound(
        n=len(losses),
        estimate=estimate,
        spread=max(0.0, upper - estimate),
        losing=len(lost),
        severity=severity,
        worst=max(lost, default=0.0),
        confidence=confidence,
    )


def _bootstrap(
    data: tuple[list[float], ...],
    statistic: Callable[..., Any],
    side: Side,
    confidence: float,
    seed: int,
    resamples: int,
) -> float:
    """One side of ``scipy.stats.bootstrap``: the upper end for ``less``, the lower end for ``greater``."""
    import warnings

    import numpy as np
    from scipy.stats import DegenerateDataWarning, bootstrap

    columns = tuple(np.asarray(column, dtype=float) for column in data)
    n = len(columns[0])
    if n < 2 or all(np.ptp(column) == 0 for column in columns):
        return float(statistic(*columns, axis=-1)) if n else 0.0
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        for method in ("BCa", "percentile"):  # BCa is undefined where every leave-one-out value is the same
            interval = bootstrap(
                columns,
                statistic,
                paired=True,
                vectorized=True,
                alternative=side,
                confidence_level=confidence,
                n_resamples=resamples,
                method=method,
                batch=max(1, 2_000_000 // n),
                rng=np.random.default_rng(seed),
            ).confidence_interval
            end = float(interval.high if side == "less" else interval.low)
            if not np.isnan(end):
                return end
    return float(statistic(*columns, axis=-1))


def _mean(values: Any, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _ratio(wrong: Any, counted: Any, axis: int = -1) -> Any:
    return wrong.sum(axis=axis) / counted.sum(axis=axis)


# -- latency ---------------------------------------------------------------------------------------


def quantile_upper(values: Sequence[float], p: float = 0.95, confidence: float = 0.95) -> float | None:
    """The one-sided upper bound of a quantile; None for too few values (p95 needs 59, p99 299, at 95 %).

    Source: ``scipy.stats.quantile_test(values, p=p,
    alternative="less").confidence_interval(confidence).high``.
    """
    return _quantile_end(values, p, confidence, "less")


def quantile_lower(values: Sequence[float], p: float = 0.95, confidence: float = 0.95) -> float | None:
    """The one-sided lower bound of a quantile; None where there are too few values."""
    return _quantile_end(values, p, confidence, "greater")


def _quantile_end(values: Sequence[float], p: float, confidence: float, side: Side) -> float | None:
    if not values:
        return None
    from scipy.stats import quantile_test

    interval: Any = quantile_test(list(values), q=0.0, p=p, alternative=side).confidence_interval(confidence)
    end = float(interval.high if side == "less" else interval.low)
    return end if math.isfinite(end) else None


def _smallest(clears: Callable[[int], bool], start: int) -> int | None:
    """The smallest n >= start that clears, by doubling and halving; None beyond ``MOST_DOCUMENTS``."""
    low, high = start, max(start, 1)
    while not clears(high):
        low, high = high, high * 2
        if high > MOST_DOCUMENTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if clears(middle) else (middle, high)
    return high


def _check_counts(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is not a count")
