"""Bounds of a quantile: the p95 of latencies is at most, and at least."""

import math
from collections.abc import Sequence
from typing import Any

from evaluation.stats.common import Side


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
