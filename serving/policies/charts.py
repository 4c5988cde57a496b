"""Charts of the page as SVG; colors and text sizes come from the style sheet."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from serving.confidence.budget import LimitPoint, WhatIf
from slmstudio.text.formatting import percent

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 10, 10, 30
#: limits at the axis of the what-if curve, which is even in the number of nines
_LIMITS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999)
_MOST_NINES = 3.0

Point = tuple[float, float]


class _Frame:
    """Axes from (low, bottom) to (high, top)."""

    def __init__(self, low: float, high: float, bottom: float, top: float) -> None:
        self._x, self._y = (low, high), (bottom, top)

    def x(self, value: float) -> str:
        low, high = self._x
        return f"{_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def y(self, value: float) -> str:
        low, high = self._y
        shown = min(max(value, low), high)
        return f"{_HEIGHT - _BOTTOM - (shown - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM):.1f}"

    def path(self, points: Iterable[Point]) -> str:
        return "M" + "L".join(f"{self.x(x)} {self.y(y)}" for x, y in points)

    def draw(
        self, label: str, x_title: str, ticks: Sequence[tuple[float, str]], marks: Sequence[SafeString]
    ) -> SafeString:
        """The chart; ``ticks``: of the x axis. Five lines are at the y axis."""
        bottom, top = self._y
        levels = [bottom + (top - bottom) * step / 4 for step in range(5)]
        digits = 0 if top - bottom >= 0.2 else 1 if top - bottom >= 0.02 else 2
        left, right = _LEFT, _WIDTH - _RIGHT
        rows = [(self.y(v), float(self.y(v)) + 3, percent(v, digits)) for v in levels]
        grid = format_html_join(
            "", '<line class="chart-grid" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="chart-text chart-end" x="{}" '
            'y="{}">{}</text>', ((left, right, y, y, left - 5, below, text) for y, below, text in rows),
        )  # fmt: skip
        below = format_html_join(
            "", '<text class="chart-text chart-middle" x="{}" y="{}">{}</text>',
            ((self.x(value), _HEIGHT - _BOTTOM + 13, text) for value, text in ticks),
        )  # fmt: skip
        return format_html(
            '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}'
            '<text class="chart-text chart-middle" x="{}" y="{}">{}</text></svg>',
            _WIDTH, _HEIGHT, label, grid, below, format_html_join("", "{}", ((one,) for one in marks)),
            (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 3, x_title,
        )  # fmt: skip


def _shares(low: float, high: float) -> list[tuple[float, str]]:
    return [(value, percent(value, 0)) for value in (low + (high - low) * step / 4 for step in range(5))]


def reliability(figures: Mapping[str, Sequence[Mapping[str, Any]]]) -> SafeString:
    """Accuracy by confidence: of token probabilities (hollow), and calibrated, with 95% intervals."""
    rows = [*figures["raw"], *figures["calibrated"]]
    if not rows:
        return SafeString("")
    lowest = min(min(row["confidence"] for row in rows), min(row["accuracy"] for row in rows))
    low = min(0.8, math.floor(10 * lowest) / 10)
    frame = _Frame(low, 1, low, 1)
    marks = [format_html('<path class="chart-diagonal" d="{}"/>', frame.path([(low, low), (1, 1)]))]
    for kind in ("raw", "calibrated"):
        for row in figures[kind]:
            x, title = frame.x(row["confidence"]), _bin_title(kind, row)
            if kind == "calibrated":
                marks.append(format_html(
                    '<line class="chart-whisker" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, frame.y(row["low"]),
                    frame.y(row["high"]),
                ))  # fmt: skip
            marks.append(format_html(
                '<circle class="chart-dot chart-{}" cx="{}" cy="{}" r="3.5"><title>{}</title></circle>', kind, x,
                frame.y(row["accuracy"]), title,
            ))  # fmt: skip
    label = "Reliability diagram: the share of correct values by confidence."
    return frame.draw(label, "confidence", _shares(low, 1), marks)


def _bin_title(kind: str, row: Mapping[str, Any]) -> str:
    name = "token probability" if kind == "raw" else "calibrated"
    return f"{name} {percent(row['confidence'])}: {percent(row['accuracy'])} of {row['count']:,} correct"


def risk_coverage(points: Sequence[LimitPoint], chosen: LimitPoint | None, budget: float | None) -> SafeString:
    """The error rate of the automatic answers by their share, with its upper bound, the budget and the limit."""
    if not points:
        return SafeString("")
    highest = max([one.risk for one in points] + ([2 * budget] if budget else []))
    top = min(1.0, max(0.01, 1.15 * highest))
    frame = _Frame(0, 1, 0, top)
    marks = [
        format_html('<path class="chart-line chart-bound" d="{}"/>', frame.path((p.share, p.bound) for p in points)),
        format_html('<path class="chart-line" d="{}"/>', frame.path((p.share, p.risk) for p in points)),
    ]
    if budget is not None:
        marks.append(format_html('<path class="chart-limit" d="{}"/>', frame.path([(0, budget), (1, budget)])))
    if chosen is not None:
        marks.append(format_html(
            '<circle class="chart-dot chart-calibrated" cx="{}" cy="{}" r="4"><title>limit {}</title></circle>',
            frame.x(chosen.share), frame.y(chosen.risk), percent(chosen.limit),
        ))  # fmt: skip
    label = "Risk-coverage curve: the error rate of the automatic answers by their share."
    return frame.draw(label, "automatic share", _shares(0, 1), marks)


def _nines(limit: float) -> float:
    return min(_MOST_NINES, -math.log10(max(10**-_MOST_NINES, 1 - limit)))


def what_if(curve: Sequence[WhatIf], current: float | None) -> SafeString:
    """Accuracy with its interval, and the share of the rest, by the limit."""
    if len(curve) < 2:
        return SafeString("")
    frame = _Frame(0, _MOST_NINES, 0, 1)
    x = [_nines(one.limit) for one in curve]
    high = zip(x, (one.high for one in curve), strict=True)
    low = zip(x, (one.low for one in curve), strict=True)
    band = frame.path([*high, *reversed(list(low))])
    marks = [
        format_html('<path class="chart-band" d="{}Z"/>', band),
        format_html('<path class="chart-line" d="{}"/>', frame.path(zip(x, (c.accuracy for c in curve), strict=True))),
        format_html(
            '<path class="chart-line chart-other" d="{}"/>', frame.path(zip(x, (c.rest for c in curve), strict=True))
        ),
    ]
    if current is not None:
        place = _nines(current)
        marks.append(format_html('<path class="chart-limit" d="{}"/>', frame.path([(place, 0), (place, 1)])))
    ticks = [(_nines(limit), f"{100 * limit:g}") for limit in _LIMITS]
    label = "What-if curve: accuracy, and the share of answers that are not automatic, by confidence limit."
    return frame.draw(label, "limit (%)", ticks, marks)
