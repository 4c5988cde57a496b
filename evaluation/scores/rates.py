"""Rates over documents: field accuracy with its interval, and the sign test of a change. Pure.

Documents of one family are not independent, so each of them can take the families of the documents.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from evaluation.scores.score_view import FieldCount, ScoreView
from evaluation.stats import by_family, mcnemar_exact, quantile_lower, quantile_upper, share_interval
from slmstudio import intervals
from slmstudio.contract.scoring.scorer import clustered, wilson


def field_accuracy(counts: Sequence[FieldCount], families: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """Field accuracy with a 95% interval in which the document is the unit: ``{k, n, rate, low, high}``.

    Wilson's interval with the effective number of fields in place of their number: how many independent ones would
    vary as much as these do between documents (the design effect, as in Korn and Graubard 1998). Where nothing varies,
    all correct or none, each document counts as one field.

    ``families``: one for each document. Where some have several, the interval is not inside that of whole families.
    """
    correct, total = sum(count.correct for count in counts), sum(count.total for count in counts)
    counted = wilson(correct, total)
    documents = sum(count.total > 0 for count in counts)
    if not documents:
        return counted
    rate = correct / total
    effective = float(documents)
    if 0 < correct < total and documents > 1:
        spread = sum((count.correct - rate * count.total) ** 2 for count in counts) * documents / (documents - 1)
        variance = spread / total**2
        if variance > 0:
            effective = min(float(total), rate * (1 - rate) / variance)
    if families is not None:
        rows = zip(families, counts, strict=True)
        by_family = clustered((family, count.correct, count.total) for family, count in rows)
        effective = min(effective, by_family.get("effective", effective))
    low, high = intervals.wilson(rate, max(1.0, effective))
    return {**counted, "low": low, "high": high}


def document_rate(has: Sequence[bool], families: Sequence[Hashable] | None = None) -> dict[str, Any]:
    """A rate of documents with its 95% interval, over whole families where some have several documents."""
    if families is None:
        return wilson(sum(has), len(has))
    return clustered((family, int(value), 1) for family, value in zip(families, has, strict=True))


def sign_test(
    before: Sequence[float], after: Sequence[float], families: Sequence[Hashable] | None = None
) -> tuple[int, int, float]:
    """How many documents are better and worse after, and the exact sign test of that (McNemar's, where values are 0
    and 1).

    ``families``: one for each document. Where some have several, the p-value is not below that of the sign test over
    families, each of which is better, worse or unchanged as a whole.
    """
    gains = [b - a for a, b in zip(before, after, strict=True)]
    better, worse = _moved(gains)
    p_value = mcnemar_exact(better, worse)
    if families is None or len(set(families)) == len(families):
        return better, worse, p_value
    sums: dict[Hashable, float] = {}
    for family, gain in zip(families, gains, strict=True):
        sums[family] = sums.get(family, 0.0) + gain
    by_family = mcnemar_exact(*_moved([round(gain, 9) for gain in sums.values()]))
    return better, worse, max(p_value, by_family)


def _moved(gains: Sequence[float]) -> tuple[int, int]:
    return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


def is_mixed(change: float, better: int, worse: int) -> bool:
    """Whether a rate over fields and most of the changed documents point in different directions: a document with many
    fields weighs more in the rate, and each counts once in the test.
    """
    return (better != worse or change != 0) and (better - worse) * change <= 0


def benchmark_bounds(
    scores: Mapping[int, Any], times: Sequence[float], families: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Confidence intervals of a benchmark, ready for JSON. ``scores`` and ``families``: by document.

    ``field_exact``: 95% interval over documents, or over families where some have several. ``p95_ms``:
    one-sided bounds, None for too few requests.
    """
    counts = {document: ScoreView.of(score).count() for document, score in scores.items()}
    units = by_family(
        ((families or {}).get(document, document), count.correct, count.total) for document, count in counts.items()
    )
    low, high = share_interval([unit.part for unit in units], [unit.whole for unit in units])
    return {
        "field_exact": {"low": low, "high": high},
        "p95_ms": {"low": quantile_lower(times), "high": quantile_upper(times)},
        "requests": len(times),
    }
