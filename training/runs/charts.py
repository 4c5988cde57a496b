"""Data of charts: length histogram, samples of an evaluation, field accuracy over time. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

OUTCOME_ICONS = {
    "correct": ("check-lg", "good", "correct"),
    "wrong": ("x-lg", "bad", "wrong"),
    "missing": ("dash-lg", "bad", "false negative"),
    "extra": ("plus-lg", "bad", "false positive"),
    "hallucinated": ("exclamation-lg", "bad", "hallucinated"),
    "both_absent": ("circle", "soft", "absent in both"),
    "unscorable": ("question-lg", "bad", "not scored: invalid output"),
}


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram: tokens from ``start`` (inclusive) to ``end`` (exclusive), rows, and its rectangle."""

    start: int
    end: int
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """Token lengths of a dataset in a box of ``width`` by ``height``; ``scale``: tokens at the right edge."""

    bars: list[Bar]
    scale: int
    width: float
    height: float
    longest: int
    median: int
    p95: int
    total: int
    rows: int


_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


def histogram(lengths: Iterable[int], width: float = 600, height: float = 120, bars: int = 40) -> Histogram | None:
    """The distribution of token counts in at most ``bars`` bars of equal width; None without counts."""
    counts = sorted(lengths)
    if not counts:
        return None
    longest = counts[-1]
    step = next((size for size in _STEPS if size * bars > longest), longest // bars + 1)
    number = longest // step + 1
    tallies = [0] * number
    for tokens in counts:
        tallies[tokens // step] += 1
    top, wide = max(tallies), width / number
    drawn = [
        Bar(
            start=index * step,
            end=(index + 1) * step,
            count=tally,
            x=round(index * wide + 0.5, 2),
            y=round(height - height * tally / top, 2),
            width=round(max(1.0, wide - 1), 2),
            height=round(height * tally / top, 2),
        )
        for index, tally in enumerate(tallies)
    ]
    return Histogram(
        bars=drawn,
        scale=number * step,
        width=width,
        height=height,
        longest=longest,
        median=counts[len(counts) // 2],
        p95=counts[min(len(counts) - 1, int(0.95 * len(counts)))],
        total=sum(counts),
        rows=len(counts),
    )


@dataclass(frozen=True)
class Mark:
    """The outcome of one field of a sample: icon, tone and label."""

    field: str
    icon: str
    tone: str
    word: str


@dataclass(frozen=True)
class Sample:
    """The model's output for one validation document at one evaluation."""

    id: str
    raw: str
    valid: bool
    correct: int
    fields: int
    marks: list[Mark]


def samples_of(data: dict[str, Any], order: Sequence[str] = ()) -> list[Sample]:
    """The rows of a ``samples`` event; ``order``: the schema's field patterns in display order."""
    return [
        Sample(
            id=str(row.get("id", "")),
            raw=str(row.get("raw", "")),
            valid=bool(row.get("valid")),
            correct=int(row.get("correct") or 0),
            fields=int(row.get("fields") or 0),
            marks=[
                Mark(path, *OUTCOME_ICONS.get(str(outcome), OUTCOME_ICONS["unscorable"]))
                for path, outcome in sorted(
                    (row.get("outcomes") or {}).items(), key=lambda item: _schema_position(item[0], order)
                )
            ],
        )
        for row in data.get("rows", [])
    ]


@dataclass(frozen=True)
class FieldCell:
    """Correct and scored values of a field at one evaluation."""

    right: int
    scored: int

    @property
    def tone(self) -> str:
        """The tone of the cell's class."""
        if not self.scored:
            return "soft"
        return "good" if self.right == self.scored else "bad" if self.right == 0 else "warn"


_INDEX = re.compile(r"\[\d+\]")


@dataclass
class FieldRow:
    """A field with one cell per evaluation."""

    name: str
    cells: list[FieldCell] = field(default_factory=list)


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


def fields_over_time(evaluations: list[dict[str, Any]], order: Sequence[str] = ()) -> list[FieldRow]:
    """The accuracy of each field in the samples of each evaluation; ``order``: the schema's field patterns."""
    rows: dict[str, FieldRow] = {}
    for index, data in enumerate(evaluations):
        tallies = field_tallies(sample.get("outcomes") for sample in data.get("rows", []))
        for pattern in tallies:
            rows.setdefault(pattern, FieldRow(pattern, [FieldCell(0, 0)] * index))
        for pattern, row in rows.items():
            row.cells.append(FieldCell(*tallies.get(pattern, (0, 0))))
    return sorted(rows.values(), key=lambda row: _schema_position(row.name, order))
