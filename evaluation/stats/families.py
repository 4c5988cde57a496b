"""Many questions at once: which of many fields moved, and how many looks at one hold-out."""

from collections.abc import Sequence

from evaluation.stats.common import ALPHA


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted after Holm (1979) for "did any of these move?", in the order given.

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
    """p-values adjusted after Benjamini and Hochberg (1995), in the order given: for exploring slices, where a share of
    false alarms among the alarms may be borne. Those of ``multipletests(p_values, method="fdr_bh")``.
    """
    adjusted = [1.0] * len(p_values)
    reached = 1.0
    order = sorted(range(len(p_values)), key=lambda index: -p_values[index])
    for rank, index in zip(range(len(order), 0, -1), order, strict=True):
        reached = min(reached, p_values[index] * len(order) / rank)
        adjusted[index] = reached
    return adjusted


def look_level(look: int, alpha: float = ALPHA) -> float:
    """The level of the ``look``-th look at one hold-out, counted from 1: ``alpha / 2**look``.

    The levels of all looks together stay below ``alpha``, however often the hold-out grows and is looked at
    again.
    """
    if look < 1:
        raise ValueError("looks are counted from 1")
    return alpha / 2.0**look
