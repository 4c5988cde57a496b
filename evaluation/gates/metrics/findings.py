"""What the test of a metric takes and returns."""

from enum import StrEnum
from typing import NamedTuple

from evaluation.gates.metrics.measurement import Measurement
from evaluation.gates.metrics.verdict_texts import count_words
from evaluation.stats import RequiredSample


class Status(StrEnum):
    """The verdicts of a gate."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_PROVEN = "NOT PROVEN"
    INAPPLICABLE = "INAPPLICABLE"


class ConfidenceLevels(NamedTuple):
    """The confidence of this hold-out evaluation; and the confidence and alpha of the next one, which is the one that
    would use new labels."""

    confidence: float
    next_confidence: float
    next_alpha: float


class Finding(NamedTuple):
    """The result of a test. ``low`` and ``high`` are one-sided bounds, ``required`` the sample that would pass.

    ``is_estimate``: the required sample assumes the current rate and has no number of allowed failures.
    ``effective``: how many independent documents the measured ones count as; None where each counts.
    """

    status: Status
    text: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    k: int | None = None
    required: RequiredSample | None = None
    is_estimate: bool = False
    effective: float | None = None


def not_measured(
    measurement: Measurement, required: RequiredSample | None, verb: str = "label", failing: str = "wrong"
) -> Finding:
    """Nothing was measured: the reason, or the sample that is required from scratch."""
    if not measurement.is_applicable:
        return Finding(Status.INAPPLICABLE, measurement.reason)
    if measurement.reason or required is None:
        return Finding(Status.NOT_PROVEN, measurement.reason or "not measured")
    text = f"not measured; {verb} {required.more:,}, {count_words(required.allowed_failures)} {failing}"
    return Finding(Status.NOT_PROVEN, text, required=required)
