"""Several models on the same documents: the exact match of each, and every pair compared. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from evaluation.comparison.regressions import SIGNIFICANCE_LEVEL
from evaluation.scores.rates import document_rate, sign_test
from evaluation.stats import holm

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


def matrix(patterns: Mapping[Any, str], runs: int, families: Mapping[Any, Any] | None = None) -> Matrix:
    """``patterns``: document -> which of the runs have it right, a character for each: "101".

    ``families``: document -> family, where a document is not alone in it. Intervals and tests are then over whole
    families, too.
    """
    if any(len(pattern) != runs for pattern in patterns.values()):
        raise ValueError("a pattern has one character for each run")
    n = len(patterns)
    of = [(families or {}).get(document, document) for document in patterns]
    columns = [[pattern[place] == "1" for pattern in patterns.values()] for place in range(runs)]
    right = tuple(document_rate(column, of) for column in columns)
    order = list(combinations(range(runs), 2))
    tests = [sign_test(columns[one], columns[other], of) for one, other in order]
    p_values = [p_value for _, _, p_value in tests]
    pairs: dict[tuple[int, int], Pair] = {}
    for (one, other), (fixed, broken, p_value), adjusted in zip(order, tests, holm(p_values), strict=True):
        pairs[one, other] = Pair(n, fixed, broken, p_value, adjusted)
        pairs[other, one] = pairs[one, other].reversed()
    return Matrix(n, right, pairs)


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
