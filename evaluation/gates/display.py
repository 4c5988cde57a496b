"""Verdicts as people read them: values in their units, thresholds, bounds, and the place of each on a number line.

Pure. A verdict comes as the dict that ``evaluation.gates.verdicts.Verdict.as_dict`` makes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluation.gates.policy.definition import METRICS, plain

#: the share of the line that is left free at each end
_MARGIN = 0.04
_UNITS = {"requests_per_second": "per second", "cost_per_request": "each", "peak_memory_gb": "GB"}


def level(confidence: float) -> str:
    """A level of confidence with the digits that it has: 0.975 as "97.5 %", 0.996875 as "99.6875 %"."""
    return f"{100 * confidence:.6g} %"


def in_unit(metric: str, value: float, *, with_unit: bool = True) -> str:
    """A value as people read it for this metric."""
    if METRICS[metric].paired:
        text, unit = f"{100 * value:+.1f}".replace("-", "−"), "points"
    elif METRICS[metric].percent:
        text, unit = f"{100 * value:.1f}" if value not in (0, 1) else f"{100 * value:.0f}", "%"
    elif metric == "p95_latency_ms":
        return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"
    else:
        text = plain(float(f"{value:.3g}"))
        unit = _UNITS.get(metric, "")
    return f"{text} {unit}" if with_unit and unit else text


def measured(verdict: Mapping[str, Any]) -> str:
    """The measured value of a verdict, with its unit."""
    value = verdict.get("measured")
    return "–" if value is None else in_unit(verdict["gate"]["metric"], float(value))


def threshold(verdict: Mapping[str, Any]) -> str:
    """What a gate asks for: "≥ 99.0 %"."""
    sign = "≥" if good_is_up(verdict) else "≤"
    return f"{sign} {in_unit(verdict['gate']['metric'], limit(verdict))}"


def bounds(verdict: Mapping[str, Any]) -> str:
    """The bounds of a verdict: "94.8 to 100 %"; "" where they say nothing beyond the measured value."""
    metric, low, high = verdict["gate"]["metric"], verdict.get("low"), verdict.get("high")
    if low == high:
        return ""
    if low is None or high is None:
        word, value = ("at least", low) if high is None else ("at most", high)
        return "" if value is None else f"{word} {in_unit(metric, float(value))}"
    return f"{in_unit(metric, float(low), with_unit=False)} to {in_unit(metric, float(high))}"


def limit(verdict: Mapping[str, Any]) -> float:
    """Where the threshold stands on the scale of what was measured: a loss that is allowed is a negative change."""
    gate = verdict["gate"]
    return -float(gate["threshold"]) if METRICS[gate["metric"]].paired else float(gate["threshold"])


def good_is_up(verdict: Mapping[str, Any]) -> bool:
    """Whether the gate passes above its threshold."""
    return bool(verdict["gate"]["operator"] == ">=")


@dataclass(frozen=True)
class NumberLine:
    """Where things stand on a line from 0 to 1: the side that passes, the bounds, what was measured, the threshold."""

    good: tuple[float, float]
    low: float
    high: float
    measured: float | None
    limit: float


def line_of(verdict: Mapping[str, Any]) -> NumberLine | None:
    """The line of a verdict, as wide as it needs to be; None where nothing was measured."""
    points = [float(verdict[name]) for name in ("low", "measured", "high") if verdict.get(name) is not None]
    if not points:
        return None
    metric, at = METRICS[verdict["gate"]["metric"]], limit(verdict)
    start, end = _ends([*points, at], percent_metric=metric.percent and not metric.paired)

    def place(value: float) -> float:
        return _MARGIN + (1 - 2 * _MARGIN) * (value - start) / (end - start)

    return NumberLine(
        good=(place(at), 1.0) if good_is_up(verdict) else (0.0, place(at)),
        low=place(min(points)),
        high=place(max(points)),
        measured=place(float(verdict["measured"])) if verdict.get("measured") is not None else None,
        limit=place(at),
    )


def _ends(points: list[float], *, percent_metric: bool) -> tuple[float, float]:
    """A scale that holds all points with some air, and stays between 0 and 1 for rates."""
    low, high = min(points), max(points)
    air = (high - low) * 0.15 or abs(high) * 0.1 or 0.05
    start, end = low - air, high + air
    if percent_metric:
        start, end = max(0.0, start), min(1.0, end)
    return (start, end) if end > start else (start - 0.05, end + 0.05)
