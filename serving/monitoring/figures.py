"""Figures of the request log: counted into ``Traffic`` by SQL, and read for a window.

A trigger marks each minute that gets rows, in the transaction that adds them. ``count_marked`` deletes marks and counts
their minutes again, in one transaction: a row that is committed later has a mark of its own, so that none is missed and
none is counted twice, also where a gateway stores its log hours after an outage.

Latencies are histograms that can be added: bucket i holds milliseconds in (FLOOR * GROWTH**(i-1), FLOOR * GROWTH**i];
the value that is read for it differs from any in it by at most 2.5%, as in DDSketch (Masson, Rim, Lee, 2019).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from evaluation.inference.prices import cost_of_time, cost_of_tokens, hourly_price
from labeling.models import Contract, Project
from serving.models import HostSample, Release, Traffic, TrafficMark

#: spans in seconds, each a multiple of the one before, and how long they are stored
SPANS = {60: timedelta(days=3), 900: timedelta(days=15), 3_600: timedelta(days=62), 21_600: timedelta(days=400)}
PARTS = ("total", "queue", "model", "fallback", "gateway")
#: what ``Traffic.source`` is where no caller saw the output
SHADOW = "shadow"
FALLBACK = "fallback"
#: minutes that are counted in one transaction
MAX_MINUTES = 240
#: minutes of the log that are older are not counted any more: their day may be dropped
_OLDEST = timedelta(days=60)
_LOCK = 7_341_001
_LONGEST = max(SPANS)
FLOOR, GROWTH = 0.1, 1.05
Histogram = dict[int, int]
#: project and start of a span; release, stage and source
Span = tuple[int, datetime]
Group = tuple[int, str, str]
Cost = Callable[[Traffic], float | None]

#: OFFSET 0: minute by minute over the index; joined, the planner compares every row with every minute
_ROWS = """
    FROM unnest(%(projects)s::bigint[], %(minutes)s::timestamptz[]) AS m (project_id, minute)
    CROSS JOIN LATERAL (
        SELECT l.release_id, l.stage, l.shadow_of, l.source, l.status, l.code, l.valid, l.prompt_tokens,
            l.output_tokens, l.total_ms, l.queue_ms, l.model_ms, l.fallback_ms, l.cost
        FROM serving_requestlog l
        WHERE l.project_id = m.project_id AND l.created_at >= m.minute
          AND l.created_at < m.minute + interval '1 minute' AND l.day = (m.minute AT TIME ZONE 'UTC')::date
        OFFSET 0
    ) r
"""
_GROUP = """
    m.project_id, m.minute, coalesce(r.release_id, 0), r.stage,
    CASE WHEN r.shadow_of IS NULL THEN r.source ELSE 'shadow' END
"""
_COUNTS = f"""
SELECT {_GROUP}, r.status, r.code, count(*), count(*) FILTER (WHERE NOT r.valid), count(r.valid),
    sum(r.prompt_tokens), sum(r.output_tokens), sum(r.model_ms), coalesce(sum(r.cost), 0)
{_ROWS} GROUP BY 1, 2, 3, 4, 5, 6, 7
"""
_TIMES = f"""
SELECT {_GROUP}, t.part,
    greatest(0, ceil(ln(greatest(t.ms, {FLOOR}) / {FLOOR}) / ln({GROWTH}::float8) - 1e-9))::int, count(*)
{_ROWS}
CROSS JOIN LATERAL (VALUES
    ('total', r.total_ms), ('queue', r.queue_ms), ('model', r.model_ms),
    ('fallback', nullif(r.fallback_ms, 0)), ('gateway', r.total_ms - r.queue_ms - r.model_ms - r.fallback_ms)
) AS t (part, ms)
WHERE r.status = 200 AND t.ms IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
"""

_DELETE_MARKS = """
DELETE FROM serving_trafficmark
WHERE (project_id, minute) IN (SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]))
"""
_DELETE_SPANS = """
DELETE FROM serving_traffic
WHERE seconds = %s AND (project_id, start) IN (SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]))
"""


@dataclass
class Figures:
    """Sums of requests, and what follows from them; shares are None without requests. ``seconds``: of the window;
    ``cost``: of ``priced`` requests, in the currency of the contract."""

    seconds: float = 0.0
    requests: int = 0
    answered: int = 0
    invalid: int = 0
    validated: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    model_ms: float = 0.0
    fallback_cost: float = 0.0
    fallbacks: int = 0
    cost: float = 0.0
    priced: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    times: dict[str, Histogram] = field(default_factory=lambda: {part: {} for part in PARTS})

    def add(self, row: Traffic, cost: Cost | None = None) -> None:
        """Adds a counted span."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(row, name))
        _add_counts(self.errors, row.errors)
        for part, times in self.times.items():
            _add_counts(times, {int(bucket): number for bucket, number in getattr(row, part).items()})
        if row.source == FALLBACK:
            self.fallbacks += row.requests
        price = None if cost is None else cost(row)
        if price is not None:
            self.cost += price
            self.priced += row.requests

    def columns(self) -> dict[str, Any]:
        """Column of ``Traffic`` -> value."""
        return {name: getattr(self, name) for name in (*_SUMMED, "errors")} | self.times

    def _errors_of(self, first: str, last: str = "999") -> int:
        return sum(number for name, number in self.errors.items() if first <= name.split(" ", 1)[0] <= last)

    @property
    def per_minute(self) -> float:
        return 60 * self.requests / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """Requests that failed on our side."""
        return self._errors_of("500")

    @property
    def failure_share(self) -> float | None:
        return self.failed / self.requests if self.requests else None

    @property
    def rejected_share(self) -> float | None:
        """Of requests that were rejected because too many waited."""
        return self._errors_of("429", "429") / self.requests if self.requests else None

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


_SUMMED = (
    "requests", "answered", "invalid", "validated", "prompt_tokens", "output_tokens", "model_ms", "fallback_cost",
)  # fmt: skip
Counted = dict[Span, dict[Group, Figures]]


def _add_counts(totals: dict[Any, int], more: Mapping[Any, int]) -> None:
    for key, number in more.items():
        totals[key] = totals.get(key, 0) + number


def quantile(histogram: Histogram, share: float) -> float | None:
    """The milliseconds that ``share`` (0 to 1) of the values do not exceed; None where there are none."""
    rank, passed = share * (sum(histogram.values()) - 1), 0
    for bucket in sorted(histogram):
        passed += histogram[bucket]
        if passed > rank:
            return FLOOR * GROWTH**bucket * 2 / (1 + GROWTH) if bucket else FLOOR
    return None


def floor(moment: datetime, seconds: int) -> datetime:
    """The start of the span of so many seconds that a moment is in, in UTC."""
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


# -- counting ---------------------------------------------------------------------------------------------------------


def count_marked(now: datetime) -> int:
    """Counts minutes with new rows; returns how many it was: ``MAX_MINUTES`` or more where others wait, 0 where another
    process counts.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
            if not cursor.fetchone()[0]:
                return 0
        minutes = _take(now)
        if minutes:
            _replace(60, minutes, _from_log(minutes))
            shorter = 60
            for seconds in list(SPANS)[1:]:
                spans = {(project, floor(start, seconds)) for project, start in minutes}
                _replace(seconds, spans, _from_shorter(shorter, seconds, spans))
                shorter = seconds
    return len(minutes)


def _take(now: datetime) -> set[Span]:
    """Deletes marks and returns their minutes."""
    marked = TrafficMark.objects.order_by("-minute").values_list("project_id", "minute").distinct()[:MAX_MINUTES]
    marks = {(project, floor(minute, 60)) for project, minute in marked}
    if marks:
        _delete(_DELETE_MARKS, marks)
    minutes: set[Span] = set()
    for project, minute in marks:
        if minute < now - _OLDEST:
            continue
        minutes.add((project, minute))
        if minute < now - SPANS[60] + timedelta(seconds=_LONGEST):
            # Other minutes of its longer spans may be deleted: all of them are counted again.
            first = floor(minute, _LONGEST)
            minutes |= {(project, first + timedelta(minutes=number)) for number in range(_LONGEST // 60)}
    return minutes


def _delete(statement: str, spans: set[Span], *values: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [*values, [project for project, _ in spans], [start for _, start in spans]])


def _from_log(minutes: set[Span]) -> Counted:
    counted: Counted = defaultdict(lambda: defaultdict(Figures))
    values: dict[str, Any] = {
        "projects": [project for project, _ in minutes],
        "minutes": [minute for _, minute in minutes],
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, values)
        for project, minute, release, stage, source, status, code, number, *sums in cursor.fetchall():
            figures = counted[project, minute][release, stage, source]
            figures.requests += number
            if status == 200:
                figures.answered += number
            else:
                _add_counts(figures.errors, {f"{status} {code}".strip(): number})
            for name, value in zip(_SUMMED[2:], sums, strict=True):
                setattr(figures, name, getattr(figures, name) + value)
        cursor.execute(_TIMES, values)
        for project, minute, release, stage, source, part, bucket, number in cursor.fetchall():
            counted[project, minute][release, stage, source].times[part][bucket] = number
    return counted


def _from_shorter(shorter: int, seconds: int, spans: set[Span]) -> Counted:
    counted: Counted = defaultdict(lambda: defaultdict(Figures))
    steps = [timedelta(seconds=shorter * step) for step in range(seconds // shorter)]
    parts = {(project, start + step) for project, start in spans for step in steps}
    rows = Traffic.objects.filter(
        seconds=shorter, project_id__in={project for project, _ in spans}, start__in={start for _, start in parts}
    )
    for row in rows:
        if (row.project_id, row.start) in parts:
            counted[row.project_id, floor(row.start, seconds)][row.release_id, row.stage, row.source].add(row)
    return counted


def _replace(seconds: int, spans: set[Span], counted: Counted) -> None:
    _delete(_DELETE_SPANS, spans, seconds)
    rows = [
        Traffic(
            project_id=project, seconds=seconds, start=start, release_id=release, stage=stage, source=source,
            **figures.columns(),
        )
        for (project, start), groups in counted.items()
        for (release, stage, source), figures in groups.items()
    ]  # fmt: skip
    Traffic.objects.bulk_create(rows, batch_size=500)


def delete_old(now: datetime) -> int:
    """Deletes spans and samples that are too old; returns the number of rows."""
    deleted = HostSample.objects.filter(minute__lt=now - timedelta(days=31)).delete()[0]
    for seconds, age in SPANS.items():
        deleted += Traffic.objects.filter(seconds=seconds, start__lt=now - age).delete()[0]
    return deleted


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A length of time that the page shows. ``step``: seconds of one point, a span of ``Traffic``."""

    key: str
    title: str
    seconds: int
    step: int

    def starts(self, now: datetime) -> list[datetime]:
        """The start of each point, the last one with the present moment."""
        last, points = floor(now, self.step), self.seconds // self.step
        return [last - timedelta(seconds=self.step * (points - 1 - at)) for at in range(points)]


WINDOWS = {
    window.key: window
    for window in (
        Window("1h", "1 hour", 3_600, 60),
        Window("24h", "24 hours", 86_400, 900),
        Window("7d", "7 days", 604_800, 3_600),
        Window("30d", "30 days", 2_592_000, 21_600),
    )
}


@dataclass
class VersionLine:
    """A version in one role, with its figures. ``number``: None where no version was chosen."""

    number: int | None
    role: str
    stage: str
    figures: Figures


@dataclass
class TrafficView:
    """The traffic of a project in a window. Shadow requests are in ``lines`` only. ``by_version``: version -> requests
    of callers at each point."""

    starts: list[datetime]
    total: Figures
    points: list[Figures]
    lines: list[VersionLine]
    by_version: dict[int | None, list[int]]


def read(project: Project, window: Window, now: datetime, *, version: int | None = None) -> TrafficView:
    """The traffic of a project up to now; ``version``: of one version only, also in shadow."""
    starts = window.starts(now)
    rows = list(Traffic.objects.filter(project_id=project.pk, seconds=window.step, start__in=starts))
    numbers = dict(Release.objects.filter(project=project).values_list("pk", "number"))
    if version is not None:
        rows = [row for row in rows if numbers.get(row.release_id) == version]
    cost = costs(project, {row.release_id for row in rows})
    length = max(1.0, (now - starts[0]).total_seconds())
    at = {start: index for index, start in enumerate(starts)}
    points = [Figures(seconds=window.step) for _ in starts]
    points[-1].seconds = max(1.0, (now - starts[-1]).total_seconds())
    total = Figures(seconds=length)
    lines: defaultdict[tuple[int | None, str, str], Figures] = defaultdict(lambda: Figures(seconds=length))
    by_version: defaultdict[int | None, list[int]] = defaultdict(lambda: [0] * len(starts))
    for row in rows:
        number = numbers.get(row.release_id)
        lines[number, row.source, row.stage].add(row, cost)
        if row.source == SHADOW and version is None:
            continue
        total.add(row, cost)
        points[at[row.start]].add(row, cost)
        by_version[number][at[row.start]] += row.requests
    ordered = sorted(lines.items(), key=lambda item: (-(item[0][0] or 0), item[0][1], item[0][2]))
    return TrafficView(
        starts, total, points, [VersionLine(*key, figures) for key, figures in ordered], dict(by_version)
    )


def recent(project_id: int, minutes: int, now: datetime, cost: Cost | None = None) -> Figures:
    """What callers got in the last full minutes and the present one."""
    since = floor(now, 60) - timedelta(minutes=minutes)
    rows = Traffic.objects.filter(project_id=project_id, seconds=60, start__gte=since, start__lte=now)
    return summed(rows.exclude(source=SHADOW), seconds=(now - since).total_seconds(), cost=cost)


def summed(rows: Iterable[Traffic], *, seconds: float, cost: Cost | None = None) -> Figures:
    """The sum of rows."""
    figures = Figures(seconds=seconds)
    for row in rows:
        figures.add(row, cost)
    return figures


def costs(project: Project, releases: set[int]) -> Cost:
    """The cost of a span with that of the larger model, None where it is unknown: tokens at the price of the external
    model, or time of the model at the contract's price per hour of the hardware."""
    constraints = Contract.objects.filter(project=project).values_list("constraints", flat=True).first() or {}
    per_hour = hourly_price(constraints.get("hardware_price_per_hour")).per_hour
    rows = Release.objects.filter(pk__in=releases, endpoint__isnull=False)
    per_token = {pk: prices for pk, *prices in rows.values_list("pk", "endpoint__price_in", "endpoint__price_out")}

    def cost(row: Traffic) -> float | None:
        if row.release_id in per_token:
            price_in, price_out = per_token[row.release_id]
            if price_in is None or price_out is None:
                return None
            tokens = cost_of_tokens(row.prompt_tokens, row.output_tokens, float(price_in), float(price_out))
            return row.fallback_cost + tokens
        return row.fallback_cost + cost_of_time(row.model_ms, per_hour) if per_hour else None

    return cost
