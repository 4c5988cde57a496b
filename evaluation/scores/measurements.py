"""Confidence intervals of a benchmark's figures. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.scores.score_view import ScoreView
from evaluation.stats import by_family, quantile_lower, quantile_upper, share_interval


def benchmark_bounds(
    scores: Mapping[int, Any], times: Sequence[float], families: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Confidence intervals of a benchmark, ready for JSON. ``scores`` and ``families``: by document.

    ``field_exact``: 95% interval over documents, or over families where some have several. ``p95_ms``:
    one-sided bounds, None for too few requests.
    """
    counts = {document: ScoreView.of(score).count() for document, score in scores.items()}
    units = by_family(
        ((families or {}).get(document, document), count.correct, count.total) for document, count in counts.items()
    )
    low, high = share_interval([unit.part for unit in units], [unit.whole for unit in units])
    return {
        "field_exact": {"low": low, "high": high},
        "p95_ms": {"low": quantile_lower(times), "high": quantile_upper(times)},
        "requests": len(times),
    }
