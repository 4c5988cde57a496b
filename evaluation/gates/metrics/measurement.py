"""What is measured for a gate, and what a test finds in it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Self

from evaluation.gates.metrics.verdict_texts import count_words
from evaluation.stats import FamilyCount, RequiredSample


@dataclass(frozen=True)
class Measurement:
    """What was measured for one gate; created by the constructors below, one for each kind of metric.

    ``pairs`` holds one pair per document: (wrong fields, counted fields), or (value of the baseline, value of the
    model under test). ``families``: what is counted, summed over the documents of each family: what ``k`` counts, wrong
    fields, or the loss; empty where each document is its own. ``family_words``: what one is, and several are.
    ``is_fresh`` is false for latencies and costs of a run that generated nothing. ``is_applicable`` is false where
    there is nothing to compare with. ``note``: what else was counted or left out; it is part of the verdict.
    ``currency``: of costs.
    """

    n: int = 0
    k: int | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    families: tuple[FamilyCount, ...] = ()
    family_words: tuple[str, str] = ("family", "families")
    values: tuple[float, ...] = ()
    baseline: str = ""
    is_fresh: bool = True
    is_applicable: bool = True
    reason: str = ""
    note: str = ""
    currency: str = ""

    @classmethod
    def nothing(cls, reason: str = "") -> Self:
        """Nothing to measure, and why; it never passes."""
        return cls(reason=reason)

    @classmethod
    def rate(cls, k: int, n: int) -> Self:
        """``k`` of ``n`` documents have what the metric counts. Raises ValueError where that is not a count."""
        if not 0 <= k <= n:
            raise ValueError(f"{k} of {n} is not a count")
        return cls(n=n, k=k)

    @classmethod
    def fields(cls, per_document: Iterable[tuple[int, int]]) -> Self:
        """(wrong fields, counted fields) of each document; documents in which nothing counts are left out."""
        pairs = tuple((float(wrong), float(counted)) for wrong, counted in per_document if counted)
        return cls(n=len(pairs), pairs=pairs)

    @classmethod
    def paired(cls, baseline: Sequence[float], candidate: Sequence[float], name: str) -> Self:
        """A value from 0 to 1 per document of both models, in the same order; ``name`` is that of the baseline."""
        pairs = tuple(zip(map(float, baseline), map(float, candidate), strict=True))
        return cls(n=len(pairs), pairs=pairs, baseline=name)

    @classmethod
    def sample(cls, values: Iterable[float], *, is_fresh: bool = True, note: str = "") -> Self:
        """One number per request (latency in ms, milliseconds of machine time, cost), or one peak of memory in GB.

        Raises:
            ValueError: a value is negative or not finite.
        """
        numbers = tuple(map(float, values))
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("measured values are finite and not negative")
        return cls(n=len(numbers), values=numbers, is_fresh=is_fresh, note=note)


class VerdictStatus(StrEnum):
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

    status: VerdictStatus
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
        return Finding(VerdictStatus.INAPPLICABLE, measurement.reason)
    if measurement.reason or required is None:
        return Finding(VerdictStatus.NOT_PROVEN, measurement.reason or "not measured")
    text = f"not measured; {verb} {required.more:,}, {count_words(required.allowed_failures)} {failing}"
    return Finding(VerdictStatus.NOT_PROVEN, text, required=required)
