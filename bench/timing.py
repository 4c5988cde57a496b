"""Statistics of a measurement: medians, 95th percentiles, tables."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass
class Samples:
    """Times of one operation in milliseconds, and the queries of each."""

    name: str
    target_ms: float | None = None
    times: list[float] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)

    def add(self, milliseconds: float, queries: int) -> None:
        """Adds one measurement."""
        self.times.append(milliseconds)
        self.queries.append(queries)

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """The 95th percentile: the smallest time that 95% of the measurements stay within."""
        return percentile(self.times, 0.95)

    def as_dict(self) -> dict[str, float | int | str | None]:
        """For JSON."""
        return {
            "name": self.name,
            "n": len(self.times),
            "median_ms": round(self.median, 2),
            "p95_ms": round(self.p95, 2),
            "worst_ms": round(max(self.times), 2),
            "queries": int(statistics.median(self.queries)),
            "most_queries": max(self.queries),
            "target_ms": self.target_ms,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A text table with the first column left-aligned, the others right-aligned."""
    lines = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]

    def shown(line: list[str]) -> str:
        first, *rest = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join([first, *rest])

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([title, shown(lines[0]), rule, *[shown(line) for line in lines[1:]], ""])
