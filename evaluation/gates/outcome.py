"""The outcome of all gates for programs: one verdict, its exit code, and each gate as plain data. Pure."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from evaluation.gates.display import good_is_up, threshold_on_scale
from evaluation.gates.metrics.findings import Status


class ExitCode(IntEnum):
    """What a program that tests gates exits with. ``NO_VERDICT``: no gate was tested; ``USAGE``: wrong arguments."""

    PASS = 0
    FAIL = 1
    NOT_PROVEN = 2
    NO_VERDICT = 3
    USAGE = 64


def overall(verdicts: Sequence[Mapping[str, Any]]) -> Status:
    """The verdict of all gates: FAIL where one fails, PASS where all applicable ones pass, else (and without one)
    NOT PROVEN.

    ``verdicts``: dicts of ``evaluation.gates.verdicts.Verdict.as_dict``, as a report stores them.
    """
    found = {verdict["status"] for verdict in verdicts} - {Status.INAPPLICABLE}
    if Status.FAIL in found:
        return Status.FAIL
    return Status.PASS if found == {Status.PASS} else Status.NOT_PROVEN


def exit_code(status: Status) -> ExitCode:
    """The exit code of a verdict. An inapplicable gate does not block."""
    return ExitCode.PASS if status is Status.INAPPLICABLE else ExitCode[status.name]


def gate_row(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A gate for programs: PASS if ``bound`` is on the side of ``threshold`` that ``operator`` names.

    Values are shares for rates, and else in the unit of the metric (milliseconds, documents per second, currency,
    bytes). ``low`` and ``high`` are the one-sided bounds at ``confidence``; ``bound`` is the one that must pass. The
    threshold of a comparison is negative: the loss that is allowed.
    """
    gate, status = verdict["gate"], Status(verdict["status"])
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
