"""Bounds of average losses, shares of fields, and means. No bound is drawn at random, so anyone can compute it again.

The fields of a document are correlated, and so are the documents of a family. Each bound is that of
``evaluation.stats.families``: the document is the unit, and so is the family where documents come in families.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from evaluation.stats.common import Tail, smallest_clearing
from evaluation.stats.families import FamilyCount, by_family, family_p_value, family_upper, weighted_mean_upper

Count = tuple[float, float]


@dataclass(frozen=True)
class LossBound:
    """A one-sided upper bound of sum(loss) / sum(whole) over documents, such as the mean of before - after.

    ``counts``: (loss, whole) of each document; a gain is a negative loss. ``families``: the sums over the documents of
    each family; empty where each document is its own. The bound is the wider one of both.
    """

    counts: tuple[Count, ...]
    confidence: float
    families: tuple[FamilyCount, ...] = ()

    @property
    def n(self) -> int:
        """The number of documents."""
        return len(self.counts)

    @property
    def losing_documents(self) -> int:
        """How many documents have a loss."""
        return sum(loss > 0 for loss, _ in self.counts)

    @cached_property
    def estimate(self) -> float:
        """The loss of these documents; 0.0 without any."""
        return math.fsum(loss for loss, _ in self.counts) / math.fsum(whole for _, whole in self.counts or [(0, 1)])

    @cached_property
    def value(self) -> float:
        """The bound; 1.0 without documents."""
        return max((family_upper(part, self.confidence) for part in (self.counts, self.families) if part), default=1.0)

    @cached_property
    def effective_documents(self) -> float | None:
        """How many independent documents with these losses have this bound; at most ``n``. None without families."""
        if not self.families:
            return None
        if self.value >= 1.0 or family_p_value(self.counts, self.value) >= 1 - self.confidence - 1e-9:
            return float(self.n)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            is_wider = middle == 0 or family_p_value(self.counts, self.value, middle) > 1 - self.confidence
            low, high = (middle, high) if is_wider else (low, middle)
        return high * self.n

    def at(self, confidence: float) -> "LossBound":
        """The same losses at another confidence."""
        return replace(self, confidence=confidence)

    def flipped(self) -> "LossBound":
        """The bound of the opposite, sum(-loss) / sum(whole): how much better it may be."""
        return LossBound(
            tuple((-loss, whole) for loss, whole in self.counts),
            self.confidence,
            tuple(FamilyCount(-one.part, one.whole, one.documents) for one in self.families),
        )

    def rest(self) -> "LossBound":
        """The bound of what is not lost, sum(whole - loss) / sum(whole)."""
        return LossBound(
            tuple((whole - loss, whole) for loss, whole in self.counts),
            self.confidence,
            tuple(FamilyCount(one.whole - one.part, one.whole, one.documents) for one in self.families),
        )

    def documents_for(self, limit: float) -> int | None:
        """How many documents in total bring the bound to ``limit`` at the current rate, in families like these; None
        where none do."""
        if self.n == 0 or self.estimate >= limit:
            return None

        def clears(documents: int) -> bool:
            parts = (part for part in (self.counts, self.families) if part)
            return all(family_p_value(part, limit, documents / self.n) <= 1 - self.confidence for part in parts)

        return smallest_clearing(clears, self.n)


def paired_loss(
    before: Sequence[float],
    after: Sequence[float],
    *,
    families: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> LossBound:
    """Bounds how much worse ``after`` is than ``before`` on the same documents: the mean of before - after.

    Both hold one value between 0 and 1 per document, in the same order (1 = exact match). ``families``: one for each
    document; None: each is its own.
    """
    if len(before) != len(after):
        raise ValueError(f"documents must be paired: {len(before)} and {len(after)}")
    losses = [float(a) - float(b) for a, b in zip(before, after, strict=True)]
    if any(not -1.0 <= loss <= 1.0 for loss in losses):
        raise ValueError("values must be between 0 and 1")
    counts = tuple((loss, 1.0) for loss in losses)
    return LossBound(counts, confidence, () if families is None else _grouped(families, counts))


def share_loss(
    wrong: Sequence[float],
    counted: Sequence[float],
    *,
    families: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> LossBound:
    """Bounds a share of fields, sum(wrong) / sum(counted), from above; both hold one number per document.

    Documents where nothing counts are left out. Few long documents can hold most fields, and count as few then.
    """
    rows = [row for row in zip(wrong, counted, families or range(len(counted)), strict=True) if row[1] > 0]
    if any(not 0 <= w <= c for w, c, _ in rows):
        raise ValueError("a document cannot have more wrong fields than fields")
    counts = tuple((float(w), float(c)) for w, c, _ in rows)
    return LossBound(counts, confidence, _grouped([family for _, _, family in rows], counts))


def share_interval(
    part: Sequence[float],
    whole: Sequence[float],
    *,
    families: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """The two-sided interval of a share of fields, sum(part) / sum(whole), for showing; one number each per document.

    Each end is a bound of ``share_loss`` at half the error. ``(0.0, 1.0)`` where nothing counts.
    """
    loss = share_loss(part, whole, families=families, confidence=(1 + confidence) / 2)
    return 1.0 - loss.rest().value, loss.value


def mean_bound(values: Sequence[float], side: Tail = "less", *, confidence: float = 0.95) -> float | None:
    """The one-sided bound of a mean: the upper one for ``less``, the lower one for ``greater``. None below two values.

    A quantile of the mean with random weights (the Bayesian bootstrap, Rubin 1981), counting one unseen value as
    extreme as the most extreme one. An approximation: values have no known limit.
    """
    if len(values) < 2:
        return None
    sign = 1.0 if side == "less" else -1.0
    return sign * weighted_mean_upper([sign * value for value in values], confidence)


def _grouped(families: Sequence[Hashable], counts: Sequence[Count]) -> tuple[FamilyCount, ...]:
    """The sums by family; empty where each document is its own."""
    grouped = by_family((family, *count) for family, count in zip(families, counts, strict=True))
    return grouped if len(grouped) < len(counts) else ()
