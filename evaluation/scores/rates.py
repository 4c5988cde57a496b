"""Rates over documents: field accuracy with its interval, and the sign test of a change. Pure."""

from collections.abc import Sequence
from typing import Any

from evaluation.scores.score_view import FieldCount
from evaluation.stats import mcnemar_exact
from slmstudio import intervals
from slmstudio.contract.scoring.summary import wilson


def field_accuracy(counts: Sequence[FieldCount]) -> dict[str, Any]:
    """Field accuracy with a 95 % interval in which the document is the unit: ``{k, n, rate, low, high}``.

    Wilson's interval with the effective number of fields in place of their number: how many independent ones would
    vary as much as these do between documents (the design effect, as in Korn and Graubard 1998). Where nothing varies,
    all correct or none, each document counts as one field.
    """
    correct, total = sum(count.correct for count in counts), sum(count.total for count in counts)
    found = wilson(correct, total)
    documents = sum(count.total > 0 for count in counts)
    if not documents:
        return found
    rate = correct / total
    effective = float(documents)
    if 0 < correct < total and documents > 1:
        spread = sum((count.correct - rate * count.total) ** 2 for count in counts) * documents / (documents - 1)
        variance = spread / total**2
        if variance > 0:
            effective = min(float(total), rate * (1 - rate) / variance)
    low, high = intervals.wilson(rate, max(1.0, effective))
    return {**found, "low": low, "high": high}


def sign_test(before: Sequence[float], after: Sequence[float]) -> tuple[int, int, float]:
    """How many documents are better and worse after, and the exact sign test of that (McNemar's, where values are 0
    and 1)."""
    better = sum(b > a for a, b in zip(before, after, strict=True))
    worse = sum(b < a for a, b in zip(before, after, strict=True))
    return better, worse, mcnemar_exact(better, worse)


def is_mixed(change: float, better: int, worse: int) -> bool:
    """Whether a rate over fields and most of the changed documents point in different directions: a document with many
    fields weighs more in the rate, and each counts once in the test.
    """
    return (better != worse or change != 0) and (better - worse) * change <= 0
