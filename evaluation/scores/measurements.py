"""The measurement behind a gate verdict. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from evaluation.scores.score_view import ScoreView
from evaluation.stats import quantile_lower, quantile_upper, share_interval


@dataclass(frozen=True)
class Measurement:
    """The measurement of one gate; each kind of metric has a constructor.

    ``pairs`` holds one pair per document: (wrong fields, counted fields), or (value of the baseline, value of the
    candidate). ``fresh``: false for latencies and costs of another run. ``note``: shown with the verdict.
    """

    n: int = 0
    k: int | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    values: tuple[float, ...] = ()
    against: str = ""
    fresh: bool = True
    reason: str = ""
    note: str = ""

    @classmethod
    def nothing(cls, reason: str = "") -> Self:
        """No measurement, with the reason; never passes."""
        return cls(reason=reason)

    @classmethod
    def rate(cls, k: int, n: int) -> Self:
        """``k`` of ``n`` documents have the counted property."""
        if not 0 <= k <= n:
            raise ValueError(f"{k} of {n} is not a count")
        return cls(n=n, k=k)

    @classmethod
    def fields(cls, per_document: Iterable[tuple[int, int]]) -> Self:
        """(wrong fields, counted fields) of each document; documents without counted fields are left out."""
        pairs = tuple((float(wrong), float(counted)) for wrong, counted in per_document if counted)
        return cls(n=len(pairs), pairs=pairs)

    @classmethod
    def paired(cls, baseline: Sequence[float], candidate: Sequence[float], against: str) -> Self:
        """A value from 0 to 1 per document of both runs, in the same order."""
        pairs = tuple(zip(map(float, baseline), map(float, candidate), strict=True))
        return cls(n=len(pairs), pairs=pairs, against=against)

    @classmethod
    def sample(cls, values: Iterable[float], *, fresh: bool = True, note: str = "") -> Self:
        """One number per request (its latency in milliseconds, its cost), or one peak of memory in GB."""
        numbers = tuple(map(float, values))
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("measured values are finite and not negative")
        return cls(n=len(numbers), values=numbers, fresh=fresh, note=note)


def benchmark_bounds(scores: Iterable[Any], times: Sequence[float]) -> dict[str, Any]:
    """Confidence intervals of a benchmark, ready for JSON.

    ``field_exact``: 95 % bootstrap interval over documents. ``p95_ms``: one-sided bounds, None for too few requests.
    """
    counts = [ScoreView.of(score).count() for score in scores]
    low, high = share_interval([count.correct for count in counts], [count.total for count in counts])
    return {
        "field_exact": {"low": low, "high": high},
        "p95_ms": {"low": quantile_lower(times), "high": quantile_upper(times)},
        "requests": len(times),
    }
