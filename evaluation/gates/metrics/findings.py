"""What a judge is told and what it answers."""

from enum import StrEnum
from typing import NamedTuple

from evaluation.gates.metrics.wording import some
from evaluation.scores.measurements import Measurement
from evaluation.stats import Price


class Status(StrEnum):
    """The three answers a gate can give."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_PROVEN = "NOT PROVEN"


class Levels(NamedTuple):
    """The confidence of this look, and the confidence and error level at which a proof is priced."""

    confidence: float
    later_confidence: float
    later_alpha: float


class Finding(NamedTuple):
    """What a judge found. A ``rough`` price assumes "go on as so far" instead of counting failures."""

    status: Status
    words: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    k: int | None = None
    price: Price | None = None
    rough: bool = False


def nothing(got: Measurement, price: Price | None, verb: str = "label", failing: str = "wrong") -> Finding:
    """Nothing was measured: the reason, or what a proof from scratch would take."""
    if got.reason or price is None:
        return Finding(Status.NOT_PROVEN, got.reason or "nothing was measured")
    words = f"nothing was measured; {verb} {price.more:,}, {some(price.allowed_failures)} of them {failing}"
    return Finding(Status.NOT_PROVEN, words, price=price)
