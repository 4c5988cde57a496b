"""Quantiles of latencies and costs, and confidence bounds of a quantile."""

import math
from collections.abc import Sequence
from typing import Any

from evaluation.stats.common import Tail


def quantile_upper(values: Sequence[float], p: float = 0.95, confidence: float = 0.95) -> float | None:
    """The one-sided upper bound of a quantile; None for too few values (p95 needs 59, p99 299, at 95%).

    Source: ``scipy.stats.quantile_test(values, p=p,
    alternative="less").confidence_interval(confidence).high``.
    """
    return _quantile_end(values, p, confidence, "less")


def quantile_lower(values: Sequence[float], p: float = 0.95, confidence: float = 0.95) -> float | None:
    """The one-sided lower bound of a quantile; None where there are too few values."""
    return _quantile_end(values, p, confidence, "greater")


def _quantile_end(values: Sequence[float], p: float, confidence: float, side: Tail) -> float | None:
    if not values:
        return None
    from scipy.stats import quantile_test

    interval: Any = quantile_test(list(values), q=0.0, p=p, alternative=side).confidence_interval(confidence)
    end = float(interval.high if side == "less" else interval.low)
    return end if math.isfinite(end) else None


def percentile(values: Sequence[float], p: float) -> float:
    """The ``p`` quantile (0.95 for p95) by linear interpolation, the default of ``numpy.quantile``."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * p
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def distribution(values: Sequence[float]) -> dict[str, float | int | None]:
    """``{n, mean, p50, p95, p99, max}`` of latencies or costs, in their unit; each None where there are no values."""
    if not values:
        return {"n": 0, "mean": None, "p50": None, "p95": None, "p99": None, "max": None}
    points = {name: percentile(values, p) for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"n": len(values), "mean": sum(values) / len(values), **points, "max": max(values)}
