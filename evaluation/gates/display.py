"""Stored verdicts, dicts of ``evaluation.gates.verdicts.Verdict.as_dict``: for programs, and for display. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import VerdictStatus

#: the share of the line that is empty at each end
_MARGIN = 0.04


def in_unit(gate: Mapping[str, Any], value: float, *, with_suffix: bool = True) -> str:
    """A value of the metric of a gate in its unit."""
    unit = METRICS[gate["metric"]].unit
    return unit.display(value, currency=gate.get("currency", ""), with_suffix=with_suffix)


def measured(verdict: Mapping[str, Any]) -> str:
    """The measured value of a verdict, with its unit."""
    value = verdict.get("measured")
    return "–" if value is None else in_unit(verdict["gate"], float(value))


def threshold(verdict: Mapping[str, Any]) -> str:
    """The threshold of a gate: "≥ 99%"."""
    gate, sign = verdict["gate"], "≥" if good_is_up(verdict) else "≤"
    unit = METRICS[gate["metric"]].unit
    text = unit.in_title(threshold_on_scale(verdict), gate.get("currency", ""))
    return f"{sign} {text} {unit.suffix}".rstrip()


def bounds(verdict: Mapping[str, Any]) -> str:
    """The bounds of a verdict: "94.8% to 100%"; "" where they equal the measured value."""
    gate, low, high = verdict["gate"], verdict.get("low"), verdict.get("high")
    if low == high:
        return ""
    if low is None or high is None:
        word, value = ("at least", low) if high is None else ("at most", high)
        return "" if value is None else f"{word} {in_unit(gate, float(value))}"
    return f"{in_unit(gate, float(low), with_suffix=False)} to {in_unit(gate, float(high))}"


def threshold_on_scale(verdict: Mapping[str, Any]) -> float:
    """The threshold on the scale of measured values: an allowed loss is a negative change."""
    gate = verdict["gate"]
    return -float(gate["threshold"]) if METRICS[gate["metric"]].is_paired else float(gate["threshold"])


def good_is_up(verdict: Mapping[str, Any]) -> bool:
    """Whether the gate passes above its threshold."""
    return bool(verdict["gate"]["operator"] == ">=")


@dataclass(frozen=True)
class NumberLine:
    """Positions on a line from 0 to 1: the range that passes, the bounds, the measured value, the threshold."""

    good: tuple[float, float]
    low: float
    high: float
    measured: float | None
    limit: float


def number_line_of(verdict: Mapping[str, Any]) -> NumberLine | None:
    """The number line of a verdict; None where nothing was measured."""
    points = [float(verdict[name]) for name in ("low", "measured", "high") if verdict.get(name) is not None]
    if not points:
        return None
    metric, at = METRICS[verdict["gate"]["metric"]], threshold_on_scale(verdict)
    start, end = _ends([*points, at], is_rate=metric.is_rate)

    def place(value: float) -> float:
        return _MARGIN + (1 - 2 * _MARGIN) * (value - start) / (end - start)

    return NumberLine(
        good=(place(at), 1.0) if good_is_up(verdict) else (0.0, place(at)),
        low=place(min(points)),
        high=place(max(points)),
        measured=place(float(verdict["measured"])) if verdict.get("measured") is not None else None,
        limit=place(at),
    )


def _ends(points: list[float], *, is_rate: bool) -> tuple[float, float]:
    """The ends of a scale with all points and a margin; between 0 and 1 for rates."""
    low, high = min(points), max(points)
    margin = (high - low) * 0.15 or abs(high) * 0.1 or 0.05
    start, end = low - margin, high + margin
    if is_rate:
        start, end = max(0.0, start), min(1.0, end)
    return (start, end) if end > start else (start - 0.05, end + 0.05)


class ExitCode(IntEnum):
    """What a program that tests gates exits with. ``NO_VERDICT``: no gate was tested; ``USAGE``: wrong arguments."""

    PASS = 0
    FAIL = 1
    NOT_PROVEN = 2
    NO_VERDICT = 3
    USAGE = 64


def overall(verdicts: Sequence[Mapping[str, Any]]) -> VerdictStatus:
    """The verdict of all gates: FAIL where one fails, PASS where all applicable ones pass, else (and without one)
    NOT PROVEN.

    ``verdicts``: dicts of ``evaluation.gates.verdicts.Verdict.as_dict``, as a report stores them.
    """
    statuses = {verdict["status"] for verdict in verdicts} - {VerdictStatus.INAPPLICABLE}
    if VerdictStatus.FAIL in statuses:
        return VerdictStatus.FAIL
    return VerdictStatus.PASS if statuses == {VerdictStatus.PASS} else VerdictStatus.NOT_PROVEN


def exit_code(status: VerdictStatus) -> ExitCode:
    """The exit code of a verdict. An inapplicable gate does not block."""
    return ExitCode.PASS if status is VerdictStatus.INAPPLICABLE else ExitCode[status.name]


def gate_row(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A gate for programs: PASS if ``bound`` is on the side of ``threshold`` that ``operator`` names.

    Values are shares for rates, and else in the unit of the metric (milliseconds, documents per second, currency,
    bytes). ``low`` and ``high`` are the one-sided bounds at ``confidence``; ``bound`` is the one that must pass. The
    threshold of a comparison is negative: the loss that is allowed.
    """
    gate, status = verdict["gate"], VerdictStatus(verdict["status"])
    return {
        "key": gate["key"],
        "title": gate["title"],
        "metric": gate["metric"],
        "slice": gate.get("slice", ""),
        "field": gate.get("field", ""),
        "verdict": str(status),
        "code": int(exit_code(status)),
        "value": verdict.get("measured"),
        "bound": verdict.get("low") if good_is_up(verdict) else verdict.get("high"),
        "operator": gate["operator"],
        "threshold": threshold_on_scale(verdict),
        "low": verdict.get("low"),
        "high": verdict.get("high"),
        "confidence": verdict["confidence"],
        "count": verdict.get("k"),
        "documents": verdict["n"],
        "needed": verdict.get("needed"),
        "sentence": verdict["sentence"],
    }


def event_rows(verdicts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The gates of a report in an event: key, title and verdict."""
    return [
        {"key": verdict["gate"]["key"], "title": verdict["gate"]["title"], "verdict": str(verdict["status"])}
        for verdict in verdicts
    ]
