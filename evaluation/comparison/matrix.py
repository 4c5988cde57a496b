"""Several models on the same documents: the exact match of each, and every pair compared. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from evaluation.comparison.regressions import SIGNIFICANCE_LEVEL
from evaluation.stats import holm, mcnemar_exact
from slmstudio.contract.scoring.summary import wilson

MIN_RUNS, MAX_RUNS = 3, 8


@dataclass(frozen=True)
class Pair:
    """A later run compared with an earlier one: documents fixed and broken of ``n``.

    The p-value is an exact McNemar test, corrected by Holm over all pairs.
    """

    n: int
    fixed: int
    broken: int
    p_value: float
    p_adjusted: float

    @property
    def reading(self) -> str:
        """``better``, ``worse``, ``same`` (no change), ``luck`` (not significant), ``unjudged`` (no document
        counts); stored in exported files.
        """
        if not self.n:
            return "unjudged"
        if not (self.fixed or self.broken):
            return "same"
        if self.p_adjusted >= SIGNIFICANCE_LEVEL:
            return "luck"
        return "better" if self.fixed > self.broken else "worse"

    def reversed(self) -> "Pair":
        """The earlier run compared with the later one."""
        return Pair(self.n, self.broken, self.fixed, self.p_value, self.p_adjusted)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "fixed": self.fixed,
            "broken": self.broken,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "reading": self.reading,
        }


@dataclass(frozen=True)
class Matrix:
    """``n`` documents that count. ``right``: exact match of each run, in order.

    ``pairs``: (position of one run, position of another) -> the second compared with the first, in both directions.
    """

    n: int
    right: tuple[dict[str, Any], ...]
    pairs: Mapping[tuple[int, int], Pair]


def matrix(patterns: Mapping[str, int], runs: int) -> Matrix:
    """``patterns`` counts the documents by which of the runs have them right: "101" -> 37, a character for each run."""
    if any(len(pattern) != runs for pattern in patterns):
        raise ValueError("a pattern has one character for each run")
    n = sum(patterns.values())
    right = tuple(wilson(_count(patterns, {place: "1"}), n) for place in range(runs))
    order = list(combinations(range(runs), 2))
    changed = [
        (_count(patterns, {one: "0", other: "1"}), _count(patterns, {one: "1", other: "0"})) for one, other in order
    ]
    p_values = [mcnemar_exact(fixed, broken) for fixed, broken in changed]
    pairs: dict[tuple[int, int], Pair] = {}
    for (one, other), (fixed, broken), p_value, adjusted in zip(order, changed, p_values, holm(p_values), strict=True):
        pairs[one, other] = Pair(n, fixed, broken, p_value, adjusted)
        pairs[other, one] = pairs[one, other].reversed()
    return Matrix(n, right, pairs)


def _count(patterns: Mapping[str, int], filters: Mapping[int, str]) -> int:
    return sum(
        count
        for pattern, count in patterns.items()
        if all(pattern[place] == letter for place, letter in filters.items())
    )


def unbeaten(found: Matrix) -> list[int]:
    """Positions of the runs that no other is significantly better than; none where no document counts."""
    if not found.n:
        return []
    return [
        place
        for place in range(len(found.right))
        if not any(pair.reading == "better" for (one, _), pair in found.pairs.items() if one == place)
    ]


def cells(found: Matrix) -> Sequence[Sequence[Pair | None]]:
    """A row for each run, a cell for each run compared with it; None on the diagonal."""
    runs = range(len(found.right))
    return [[found.pairs.get((one, other)) for other in runs] for one in runs]
