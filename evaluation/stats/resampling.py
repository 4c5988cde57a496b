"""Bounds by bootstrap over documents: the fields of one document are correlated."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluation.stats.common import Tail, smallest_clearing
from evaluation.stats.families import family_upper
from evaluation.stats.rates import exact_upper

RESAMPLES = 4999
#: with fewer resamples beyond a bound, its place is unknown
TAIL = 20


@dataclass(frozen=True)
class LossBound:
    """An upper bound on an average loss over documents (losses between 0 and 1; a gain is a negative loss).

    A bootstrap has no resample with a loss that is not in the sample: with no loss among 40 documents, a model that
    breaks 2 % of documents would pass a 2 % limit 43 times of 100. ``margin`` therefore adds what exact binomial bounds
    know: how much more often documents may have a loss than in the resamples (``severity``: the average loss of a
    document with one, counting one unseen total loss), and how often a document may be worse than the ``worst`` one
    seen. With no loss the bound is the exact one on documents ("3 in n"); with many losses the margin fades out.
    """

    n: int
    estimate: float
    spread: float
    losing_documents: int
    severity: float
    worst: float
    confidence: float

    @property
    def margin(self) -> float:
        """What the bootstrap leaves out because documents with a loss are rare."""
        return self._margin(self.losing_documents, self.n)

    @property
    def value(self) -> float:
        """The bound: estimate + bootstrap spread + margin, at most 1."""
        return min(1.0, self.estimate + self.spread + self.margin) if self.n else 1.0

    def not_below(self, value: float) -> "LossBound":
        """The same bound, or ``value`` where that is higher."""
        return replace(self, spread=self.spread + max(0.0, value - self.value))

    def value_at(self, n: int) -> float:
        """About what the bound is with ``n`` documents at the current rate."""
        spread = self.spread * math.sqrt(self.n / n)
        return self.estimate + spread + self._margin(round(self.losing_documents * n / self.n), n)

    def documents_for(self, limit: float, at_least: int | None = None) -> int | None:
        """About how many documents in total bring the bound to ``limit`` at the current rate; None where none do.

        ``at_least``: where the search starts; None: at those that there are.
        """
        if self.n == 0 or self.estimate >= limit:
            return None
        return smallest_clearing(lambda n: self.value_at(n) <= limit, self.n if at_least is None else at_least)

    def effective_documents(self, value: float) -> float:
        """About how many independent documents have a bound of ``value`` at the current rate; at most ``n``."""
        if self.n == 0 or self.value >= value:
            return float(self.n)
        low, high = 1, self.n  # the bound falls as documents are added
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.value_at(middle) >= value - 1e-9 else (low, middle)
        return float(low)

    def _margin(self, losing_documents: int, n: int) -> float:
        if n == 0:
            return 1.0
        from scipy.stats import binom

        unseen = (
            exact_upper(losing_documents, n, self.confidence)
            - float(binom.ppf(self.confidence, n, losing_documents / n)) / n
        )
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

    Both hold one value between 0 and 1 per document, in the same order (1 = exact match).
    """
    if len(before) != len(after):
        raise ValueError(f"documents must be paired: {len(before)} and {len(after)}")
    losses = [float(a) - float(b) for a, b in zip(before, after, strict=True)]
    if any(not -1.0 <= loss <= 1.0 for loss in losses):
        raise ValueError("values must be between 0 and 1")
    estimate = sum(losses) / len(losses) if losses else 0.0
    upper = _bootstrap((losses,), _mean, "less", confidence, seed, resamples)
    return loss_bound(losses, estimate, upper, confidence)


def paired_bootstrap_lower(
    before: Sequence[float],
    after: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> float:
    """The one-sided lower bound of mean(after - before), documents as the unit; deterministic.

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

    Documents are resampled whole, with all their fields. Documents where nothing counts are left out. Where some
    documents have more fields than others, the bound is not below that of ``family_upper``: few long ones can hold most
    fields.
    """
    pairs = [(float(w), float(c)) for w, c in zip(wrong, counted, strict=True) if c > 0]
    if any(not 0 <= w <= c for w, c in pairs):
        raise ValueError("a document cannot have more wrong fields than fields")
    bad, all_ = [w for w, _ in pairs], [c for _, c in pairs]
    estimate = sum(bad) / sum(all_) if pairs else 0.0
    upper = _bootstrap((bad, all_), _ratio, "less", confidence, seed, resamples)
    found = loss_bound([w / c for w, c in pairs], estimate, upper, confidence)
    if len(set(all_)) <= 1:
        return found
    return found.not_below(family_upper(pairs, confidence))


def share_interval(
    part: Sequence[float],
    whole: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The two-sided interval of a share of fields, sum(part) / sum(whole), for showing; one number each per document.

    Documents are resampled whole. Each end is a bound of ``share_loss`` at half the error, so few documents that are
    all right (or all wrong) still have an interval. ``(0.0, 1.0)`` where nothing counts.
    """
    rest = [w - p for p, w in zip(part, whole, strict=True)]
    low, high = (
        share_loss(counted, whole, confidence=(1 + confidence) / 2, seed=seed, resamples=resamples).value
        for counted in (rest, part)
    )
    return 1.0 - low, high


def mean_bound(
    values: Sequence[float],
    side: Tail = "less",
    *,
    confidence: float = 0.95,
    seed: int = 17,
    resamples: int = RESAMPLES,
) -> float | None:
    """The one-sided bound of a mean: the upper one for ``less``, the lower one for ``greater``.

    The wider one of the bootstrap over requests and Student's t. None below two values.
    """
    if len(values) < 2:
        return None
    from scipy.stats import sem, t

    mean, reach = sum(values) / len(values), float(sem(values)) * float(t.ppf(confidence, len(values) - 1))
    resampled = _bootstrap((list(values),), _mean, side, confidence, seed, resamples)
    return max(mean + reach, resampled) if side == "less" else min(mean - reach, resampled)


def bootstrap_upper(
    wrong: list[float], counted: list[float], confidence: float, seed: int = 17, resamples: int = RESAMPLES
) -> float:
    """The upper end of sum(wrong) / sum(counted), one number each per family: the wider one of the bootstrap and
    Student's t, which is needed where families are few."""
    if len(wrong) < 2:
        return sum(wrong) / sum(counted)
    import numpy as np

    columns = np.asarray(wrong, dtype=float), np.asarray(counted, dtype=float)
    resampled = _bootstrap((wrong, counted), _ratio, "less", confidence, seed, resamples)
    return max(resampled, _student(columns, "less", confidence))


def loss_bound(losses: list[float], estimate: float, upper: float, confidence: float) -> LossBound:
    """The bound of losses, one per document or family, with its margin. ``upper``: the resampled end."""
    lost = [loss for loss in losses if loss > 0]
    severity = (sum(lost) + 1.0) / (len(lost) + 1)
    return LossBound(
        n=len(losses),
        estimate=estimate,
        spread=max(0.0, upper - estimate),
        losing_documents=len(lost),
        severity=severity,
        worst=max(lost, default=0.0),
        confidence=confidence,
    )


def _bootstrap(
    data: tuple[list[float], ...],
    statistic: Callable[..., Any],
    side: Tail,
    confidence: float,
    seed: int,
    resamples: int,
) -> float:
    """One side of ``scipy.stats.bootstrap``: the upper end for ``less``, the lower end for ``greater``.

    From the fourth hold-out evaluation on, alpha is so small that hardly a resample is beyond the bound; Student's t
    replaces it where its bound is wider.
    """
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
                break
        else:
            end = float(statistic(*columns, axis=-1))
    if (1 - confidence) * resamples >= TAIL:
        return end
    other = _student(columns, side, confidence)
    return max(end, other) if side == "less" else min(end, other)


def _student(columns: tuple[Any, ...], side: Tail, confidence: float) -> float:
    """The same end by Student's t over documents; of a linearized ratio, as in Cochran (1977), 6.4."""
    from scipy.stats import sem, t

    top, bottom = columns[0], columns[1] if len(columns) > 1 else 1.0
    whole = float(columns[1].mean()) if len(columns) > 1 else 1.0
    estimate = float(top.mean()) / whole
    reach = float(sem((top - estimate * bottom) / whole)) * float(t.ppf(confidence, len(top) - 1))
    return estimate + reach if side == "less" else estimate - reach


def _mean(values: Any, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _ratio(wrong: Any, counted: Any, axis: int = -1) -> Any:
    return wrong.sum(axis=axis) / counted.sum(axis=axis)
