"""Multiple testing: adjusted p-values, and alpha spending over repeated hold-out evaluations."""

from collections.abc import Sequence

from evaluation.stats.common import ALPHA


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted after Holm (1979), which bounds the family-wise error rate; in the given order.

    The values of ``statsmodels.stats.multitest.multipletests(p_values, method="holm")``, which is not called because
    it runs a full garbage collection each time: a tenth of a second in a web process.
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        reached = max(reached, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, reached)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted after Benjamini and Hochberg (1995), in the given order: they bound the false discovery rate,
    which is enough to explore slices. Those of ``multipletests(p_values, method="fdr_bh")``.
    """
    adjusted = [1.0] * len(p_values)
    reached = 1.0
    order = sorted(range(len(p_values)), key=lambda index: -p_values[index])
    for rank, index in zip(range(len(order), 0, -1), order, strict=True):
        reached = min(reached, p_values[index] * len(order) / rank)
        adjusted[index] = reached
    return adjusted


def alpha_level(number: int, alpha: float = ALPHA) -> float:
    """The alpha of the ``number``-th hold-out evaluation, counted from 1: ``alpha / 2**number``.

    Their sum stays below ``alpha``, however often the hold-out is evaluated.

    Raises:
        ValueError: the number is below 1.
    """
    if number < 1:
        raise ValueError("hold-out evaluations are counted from 1")
    return alpha / 2.0**number
