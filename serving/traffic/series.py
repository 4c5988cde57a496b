"""Reads ``Traffic`` for a window: totals by version, and points over time."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from labeling.models import Project
from serving.models import Release, Traffic
from serving.traffic.counting import Figures, floor
from serving.traffic.histogram import quantile
from serving.traffic.prices import CostOf

#: what ``Traffic.source`` is where no caller saw the output
SHADOW = "shadow"
FALLBACK = "fallback"


@dataclass(frozen=True)
class Window:
    """A length of time that the page shows. ``step``: seconds of one point, a span of ``Traffic``."""

    key: str
    title: str
    seconds: int
    step: int

    @property
    def points(self) -> int:
        return self.seconds // self.step

    def starts(self, now: datetime) -> list[datetime]:
        """The start of each point, the last one with the present moment."""
        last = floor(now, self.step)
        return [last - timedelta(seconds=self.step * (self.points - 1 - at)) for at in range(self.points)]


WINDOWS = {
    one.key: one
    for one in (
        Window("1h", "1 hour", 3_600, 60),
        Window("24h", "24 hours", 86_400, 900),
        Window("7d", "7 days", 604_800, 3_600),
        Window("30d", "30 days", 2_592_000, 21_600),
    )
}


@dataclass
class Sums(Figures):
    """Figures with what follows from them. Shares are None without requests."""

    seconds: float = 0.0
    fallbacks: int = 0
    cost: float = 0.0
    priced: int = 0

    @property
    def per_minute(self) -> float:
        return 60 * self.requests / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests that failed on our side: a status of 500 or more."""
        return sum(number for name, number in self.errors.items() if name.split(" ", 1)[0] >= "500")

    @property
    def turned_away(self) -> int:
        """Requests that were rejected because too many waited."""
        return sum(number for name, number in self.errors.items() if name.startswith("429"))

    @property
    def failure_share(self) -> float | None:
        return self.failed / self.requests if self.requests else None

    @property
    def rejected_share(self) -> float | None:
        return self.turned_away / self.requests if self.requests else None

    @property
    def invalid_share(self) -> float | None:
        """Of the outputs that were compared with the schema."""
        return self.invalid / self.validated if self.validated else None

    @property
    def valid_share(self) -> float | None:
        return None if self.invalid_share is None else 1 - self.invalid_share

    @property
    def fallback_share(self) -> float | None:
        return self.fallbacks / self.requests if self.requests else None

    @property
    def cost_per_thousand(self) -> float | None:
        """Of requests whose price is known, in the currency of the contract."""
        return 1_000 * self.cost / self.priced if self.priced else None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens

    def time(self, part: str, share: float) -> float | None:
        """A quantile of a part of the latency in milliseconds."""
        return quantile(self.times[part], share)

    @property
    def latency(self) -> dict[str, tuple[float | None, float | None, float | None]]:
        """Part -> p50, p95, p99 in milliseconds."""
        return {part: (self.time(part, 0.5), self.time(part, 0.95), self.time(part, 0.99)) for part in self.times}

    @property
    def frequent_errors(self) -> list[tuple[str, int]]:
        """The most frequent errors first."""
        return sorted(self.errors.items(), key=lambda pair: (-pair[1], pair[0]))[:8]


@dataclass
class VersionLine:
    """A version in one role, with its sums. ``number``: None where no version was chosen."""

    number: int | None
    role: str
    stage: str
    sums: Sums


@dataclass
class TrafficView:
    """The traffic of a project in a window. Shadow requests are in ``lines`` only."""

    window: Window
    starts: list[datetime]
    total: Sums
    points: list[Sums]
    lines: list[VersionLine]
    #: version -> requests of callers at each point
    by_version: dict[int | None, list[int]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.lines


def read(project: Project, window: Window, now: datetime, *, version: int | None = None) -> TrafficView:
    """The traffic of a project up to now; ``version``: of one version only, also in shadow."""
    starts = window.starts(now)
    rows = list(Traffic.objects.filter(project_id=project.pk, seconds=window.step, start__in=starts))
    numbers = dict(Release.objects.filter(project=project).values_list("pk", "number"))
    if version is not None:
        rows = [row for row in rows if numbers.get(row.release_id) == version]
    cost_of = CostOf.of_project(project, {row.release_id for row in rows})
    length = max(1.0, (now - starts[0]).total_seconds())
    at = {start: index for index, start in enumerate(starts)}
    points = [Sums(seconds=window.step) for _ in starts]
    points[-1].seconds = max(1.0, (now - starts[-1]).total_seconds())
    total = Sums(seconds=length)
    lines: defaultdict[tuple[int | None, str, str], Sums] = defaultdict(lambda: Sums(seconds=length))
    by_version: defaultdict[int | None, list[int]] = defaultdict(lambda: [0] * len(starts))
    for row in rows:
        number = numbers.get(row.release_id)
        _add(lines[number, row.source, row.stage], row, cost_of)
        if row.source == SHADOW and version is None:
            continue
        _add(total, row, cost_of)
        _add(points[at[row.start]], row, cost_of)
        by_version[number][at[row.start]] += row.requests
    ordered = sorted(lines.items(), key=lambda item: (-(item[0][0] or 0), item[0][1], item[0][2]))
    return TrafficView(
        window, starts, total, points,
        [VersionLine(number, role, stage, sums) for (number, role, stage), sums in ordered], dict(by_version),
    )  # fmt: skip


def recent(project_id: int, minutes: int, now: datetime, cost_of: CostOf | None = None) -> Sums:
    """What callers got in the last full minutes and the present one."""
    since = floor(now, 60) - timedelta(minutes=minutes)
    rows = Traffic.objects.filter(project_id=project_id, seconds=60, start__gte=since, start__lte=now)
    return summed(rows.exclude(source=SHADOW), seconds=(now - since).total_seconds(), cost_of=cost_of)


def summed(rows: Iterable[Traffic], *, seconds: float, cost_of: CostOf | None = None) -> Sums:
    """The sum of rows."""
    found = Sums(seconds=seconds)
    for row in rows:
        _add(found, row, cost_of)
    return found


def _add(sums: Sums, row: Traffic, cost_of: CostOf | None) -> None:
    sums.add(row)
    if row.source == FALLBACK:
        sums.fallbacks += row.requests
    cost = None if cost_of is None else cost_of.row(row)
    if cost is not None:
        sums.cost += cost
        sums.priced += row.requests
