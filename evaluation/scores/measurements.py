"""What was measured, in the shape the gates judge.

Scores come in as ``slmstudio.contract.scoring.scorer.DocumentScore`` or as the plain dict it is stored as; only
``exact``, ``schema_valid`` and the ``field`` and ``outcome`` of each of its ``fields`` are read.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from evaluation.stats import quantile_lower, quantile_upper, share_interval

RIGHT = frozenset({"correct", "both_absent"})
NOT_COUNTED = "both_absent"


@dataclass(frozen=True)
class Scored:
    """What comparisons and gates need of a document's score; ``fields`` holds (field, outcome)."""

    exact: bool
    schema_valid: bool
    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, score: Any) -> Self:
        """Reads a DocumentScore, or the dict made from one."""
        if isinstance(score, cls):
            return score
        get = score.__getitem__ if isinstance(score, Mapping) else lambda name: getattr(score, name)
        fields = tuple(
            (str(row["field"]), str(row["outcome"])) if isinstance(row, Mapping) else (str(row.field), str(row.outcome))
            for row in get("fields")
        )
        return cls(bool(get("exact")), bool(get("schema_valid")), fields)

    @property
    def counted(self) -> int:
        """How many field outcomes count: all but those absent on both sides."""
        return sum(outcome != NOT_COUNTED for _, outcome in self.fields)

    @property
    def wrong(self) -> int:
        """How many of the counted outcomes are not correct; an invalid output has all of them wrong."""
        return sum(outcome not in RIGHT for _, outcome in self.fields)

    @property
    def share_right(self) -> float:
        """The share of counted fields that are right; of a document without any, whether it is exact."""
        return 1.0 - self.wrong / self.counted if self.counted else float(self.exact)


@dataclass(frozen=True)
class Measurement:
    """What was measured for one gate; made by the constructors below, one for each kind of metric.

    ``pairs`` holds one pair per document: (wrong fields, counted fields), or (value of the baseline, value of
    the candidate). ``fresh`` is false for latencies and costs that were not measured for this judgement. ``note``: what
    else was counted, or left out, said with the verdict.
    """

    n: int = 0
    k: int | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    values: tuple[float, ...] = ()
    against: str = ""
    fresh: bool = True
    reason: str = ""
    note: str = ""

    @classmethod
    def nothing(cls, reason: str = "") -> Self:
        """Nothing to measure, and why; it never passes."""
        return cls(reason=reason)

    @classmethod
    def rate(cls, k: int, n: int) -> Self:
        """``k`` of ``n`` documents have what the metric counts: valid ones, or ones with an error."""
        if not 0 <= k <= n:
            raise ValueError(f"{k} of {n} is not a count")
        return cls(n=n, k=k)

    @classmethod
    def fields(cls, per_document: Iterable[tuple[int, int]]) -> Self:
        """(wrong fields, counted fields) of each document; a document with nothing counted is left out."""
        pairs = tuple((float(wrong), float(counted)) for wrong, counted in per_document if counted)
        return cls(n=len(pairs), pairs=pairs)

    @classmethod
    def paired(cls, baseline: Sequence[float], candidate: Sequence[float], against: str) -> Self:
        """A value from 0 to 1 per document for both, in the same order; ``against`` names the baseline."""
        pairs = tuple(zip(map(float, baseline), map(float, candidate), strict=True))
        return cls(n=len(pairs), pairs=pairs, against=against)

    @classmethod
    def sample(cls, values: Iterable[float], *, fresh: bool = True, note: str = "") -> Self:
        """One number per request (its latency in milliseconds, its cost), or one peak of memory in GB."""
        numbers = tuple(map(float, values))
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError("measured values are finite and not negative")
        return cls(n=len(numbers), values=numbers, fresh=fresh, note=note)


def benchmark_bounds(scores: Iterable[Any], times: Sequence[float]) -> dict[str, Any]:
    """What a benchmark's figures prove, JSON-ready. ``field_exact``: ``low`` and ``high`` (95 %, documents resampled
    whole); ``p95_ms``: its one-sided bounds, None where there are too few requests for one; ``requests``: how many.
    """
    read = [Scored.of(score) for score in scores]
    low, high = share_interval([one.counted - one.wrong for one in read], [one.counted for one in read])
    return {
        "field_exact": {"low": low, "high": high},
        "p95_ms": {"low": quantile_lower(times), "high": quantile_upper(times)},
        "requests": len(times),
    }


def percentile(values: Sequence[float], p: float) -> float:
    """The ``p`` quantile (0.95 for p95) by linear interpolation, as ``numpy.quantile`` has it by default."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * p
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
