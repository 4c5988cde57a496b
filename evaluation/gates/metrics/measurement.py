"""What was measured for one gate."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from evaluation.stats import FamilyCount


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
