"""What the pages draw, worked out from rows: histogram, samples by evaluation, fields over time. Plain Python."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slmstudio.storage.sizes import format_bytes

MARKS = {
    "correct": ("check-lg", "good", "correct"),
    "wrong": ("x-lg", "bad", "wrong"),
    "missing": ("dash-lg", "bad", "missing"),
    "extra": ("plus-lg", "bad", "extra"),
    "hallucinated": ("exclamation-lg", "bad", "not in the document"),
    "both_absent": ("circle", "soft", "absent in both"),
    "unscorable": ("question-lg", "bad", "not scored, the output is invalid"),
}


@dataclass(frozen=True)
class Bar:
    """One bar of the histogram: tokens from (included) to (excluded), how many rows, and where it is drawn."""

    start: int
    end: int
    count: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """Token lengths of a dataset, drawn in a box of ``width`` by ``height``; ``scale`` is tokens at the right edge."""

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
    """The distribution of some token counts in at most ``bars`` bars of equal width; None where there are no counts."""
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
    """One field of one sample: its outcome as a shape, a tone and a word."""

    field: str
    icon: str
    tone: str
    word: str


@dataclass(frozen=True)
class Sample:
    """What the model wrote for one validation document at one evaluation."""

    id: str
    raw: str
    valid: bool
    correct: int
    fields: int
    marks: list[Mark]


def samples_of(data: dict[str, Any], order: Sequence[str] = ()) -> list[Sample]:
    """The rows of one ``samples`` event; ``order`` are the schema's field patterns, in the order they are shown."""
    return [
        Sample(
            id=str(row.get("id", "")),
            raw=str(row.get("raw", "")),
            valid=bool(row.get("valid")),
            correct=int(row.get("correct") or 0),
            fields=int(row.get("fields") or 0),
            marks=[
                Mark(path, *MARKS.get(str(outcome), MARKS["unscorable"]))
                for path, outcome in sorted(
                    (row.get("outcomes") or {}).items(), key=lambda item: _place(item[0], order)
                )
            ],
        )
        for row in data.get("rows", [])
    ]


@dataclass(frozen=True)
class Cell:
    """Right and judged documents of a field at one evaluation."""

    right: int
    judged: int

    @property
    def tone(self) -> str:
        """For the cell's class; the numbers say the same."""
        if not self.judged:
            return "soft"
        return "good" if self.right == self.judged else "bad" if self.right == 0 else "warn"


_INDEX = re.compile(r"\[\d+\]")


@dataclass
class FieldRow:
    """A field with one cell per evaluation."""

    name: str
    cells: list[Cell] = field(default_factory=list)


def _pattern(path: str) -> str:
    return _INDEX.sub("[]", path)


def _place(path: str, order: Sequence[str]) -> tuple[int, str]:
    """Sorts paths as the schema has their fields; the database keeps no order of keys."""
    pattern = _pattern(path)
    return (order.index(pattern) if pattern in order else len(order), path)


def field_tallies(outcomes: Iterable[dict[str, Any] | None]) -> dict[str, list[int]]:
    """Right and judged values by field pattern, from the outcomes of some samples; absent in both is left out.

    The values of a list count as one field: ``line_items[0].amount`` and ``line_items[1].amount`` together. An output
    that is invalid counts as wrong in all its fields.
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
    """How often each field was right in the samples of each evaluation; ``order`` are the schema's field patterns."""
    rows: dict[str, FieldRow] = {}
    for index, data in enumerate(evaluations):
        tallies = field_tallies(sample.get("outcomes") for sample in data.get("rows", []))
        for pattern in tallies:
            rows.setdefault(pattern, FieldRow(pattern, [Cell(0, 0)] * index))
        for pattern, row in rows.items():
            row.cells.append(Cell(*tallies.get(pattern, (0, 0))))
    return sorted(rows.values(), key=lambda row: _place(row.name, order))


def foretold(
    memory_bytes: float | None, memory_off: float | None, seconds: float | None, seconds_off: float | None
) -> list[str]:
    """An estimate against what came: "memory 9.1 GB foretold, 8.4 GB used, 8 % too much". Nothing where either lacks.

    ``..._off``: what came is by this share more than what was foretold. The share told is of what came.
    """
    pairs = [
        ("memory", memory_bytes, memory_off, format_bytes, "used"),
        ("time", seconds, seconds_off, _spell, "taken"),
    ]
    lines = []
    for name, came, off, words, verb in pairs:
        if not came or off is None or off <= -1:
            continue
        share = round(100 * (1 / (1 + off) - 1))
        how = "as foretold" if share == 0 else f"{abs(share)} % too {'much' if share > 0 else 'little'}"
        lines.append(f"{name} {words(came / (1 + off))} foretold, {words(came)} {verb}, {how}")
    return lines


def _spell(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
