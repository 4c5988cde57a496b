"""Confidence intervals of a benchmark's figures. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from evaluation.scores.score_view import ScoreView
from evaluation.stats import quantile_lower, quantile_upper, share_interval


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
