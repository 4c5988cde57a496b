"""Data of charts: length histogram, samples of an evaluation, field accuracy over time. Pure."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

#: outcome of a field -> icon, tone and label
OUTCOME_ICONS = {
    "correct": ("check-lg", "good", "correct"),
    "wrong": ("x-lg", "bad", "wrong"),
    "missing": ("dash-lg", "bad", "false negative"),
    "extra": ("plus-lg", "bad", "false positive"),
    "hallucinated": ("exclamation-lg", "bad", "hallucinated"),
    "both_absent": ("circle", "soft", "absent in both"),
    "unscorable": ("question-lg", "bad", "not scored: invalid output"),
}
#: the size of a histogram in the units of its drawing, and its most bars
WIDTH, HEIGHT, MAX_BARS = 600, 120, 40
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
_INDEX = re.compile(r"\[\d+\]")


def histogram(lengths: Iterable[int]) -> dict[str, Any] | None:
    """The distribution of token counts in bars of equal width, with figures of it; None without counts.

    Each of ``bars``: tokens from ``start`` (inclusive) to ``end`` (exclusive), the count, and the rectangle. ``scale``:
    tokens at the right edge.
    """
    counts = sorted(lengths)
    if not counts:
        return None
    longest = counts[-1]
    step = next((size for size in _STEPS if size * MAX_BARS > longest), longest // MAX_BARS + 1)
    number = longest // step + 1
    tallies = [0] * number
    for tokens in counts:
        tallies[tokens // step] += 1
    top, wide = max(tallies), WIDTH / number
    bars = [
        {
            "start": index * step,
            "end": (index + 1) * step,
            "count": tally,
            "x": round(index * wide + 0.5, 2),
            "y": round(HEIGHT - HEIGHT * tally / top, 2),
            "width": round(max(1.0, wide - 1), 2),
            "height": round(HEIGHT * tally / top, 2),
        }
        for index, tally in enumerate(tallies)
    ]
    return {
        "bars": bars,
        "scale": number * step,
        "width": WIDTH,
        "height": HEIGHT,
        "longest": longest,
        "median": counts[len(counts) // 2],
        "p95": counts[min(len(counts) - 1, int(0.95 * len(counts)))],
        "total": sum(counts),
        "rows": len(counts),
    }


def marks_of(outcomes: dict[str, Any], order: Sequence[str] = ()) -> list[tuple[str, str, str, str]]:
    """Field, icon, tone and label of each outcome of a sample; ``order``: the schema's field patterns."""
    return [
        (path, *OUTCOME_ICONS.get(str(outcome), OUTCOME_ICONS["unscorable"]))
        for path, outcome in sorted(outcomes.items(), key=lambda item: _schema_position(item[0], order))
    ]


def _pattern(path: str) -> str:
    return _INDEX.sub("[]", path)


def _schema_position(path: str, order: Sequence[str]) -> tuple[int, str]:
    """Sort key: the order of the schema. The database does not keep the order of keys."""
    pattern = _pattern(path)
    return (order.index(pattern) if pattern in order else len(order), path)


def field_tallies(outcomes: Iterable[dict[str, Any] | None]) -> dict[str, list[int]]:
    """Correct and scored values by field pattern, from the outcomes of samples, without those absent in both.

    Items of a list count as one field: ``line_items[0].amount`` and ``line_items[1].amount`` together. An invalid
    output counts as wrong in all fields.
    """
    tallies: dict[str, list[int]] = {}
    for sample in outcomes:
        for path, outcome in (sample or {}).items():
            tally = tallies.setdefault(_pattern(path), [0, 0])
            if outcome != "both_absent":
                tally[0] += outcome == "correct"
                tally[1] += 1
    return tallies


def fields_over_time(
    evaluations: list[dict[str, Any]], order: Sequence[str] = ()
) -> list[tuple[str, list[tuple[int, int]]]]:
    """Correct and scored values of each field in the samples of each evaluation; ``order``: the field patterns."""
    tallies = [field_tallies(sample.get("outcomes") for sample in data.get("rows", [])) for data in evaluations]
    patterns = {pattern for tally in tallies for pattern in tally}
    return [
        (pattern, [(correct, scored) for correct, scored in (tally.get(pattern, (0, 0)) for tally in tallies)])
        for pattern in sorted(patterns, key=lambda pattern: _schema_position(pattern, order))
    ]
