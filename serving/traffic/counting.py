"""Counts the request log into ``Traffic``: minutes from the log, longer spans from shorter ones.

A trigger marks each minute that gets rows, in the transaction that adds them. ``count_marked`` deletes marks and counts
their minutes again, in one transaction: a row that is committed later has a mark of its own, so that none is missed and
none is counted twice, also where a gateway stores its log hours after an outage.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction

from serving.models import HostSample, Traffic, TrafficMark
from serving.traffic.histogram import SQL_BUCKET, Histogram, merged

#: spans in seconds, each a multiple of the one before, and how long they are stored
SPANS = {
    60: timedelta(days=3),
    900: timedelta(days=15),
    3_600: timedelta(days=62),
    21_600: timedelta(days=400),
}
PARTS = ("total", "queue", "model", "fallback", "gateway")
#: minutes that are counted in one transaction
MAX_MINUTES = 240
#: minutes of the log that are older are not counted any more: their day may be dropped
_OLDEST = timedelta(days=60)
_LOCK = 7_341_001
_LONGEST = max(SPANS)
_MINUTE = timedelta(minutes=1)
Minute = tuple[int, datetime]
#: release, stage, source
Group = tuple[int, str, str]

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
SELECT {_GROUP}, t.part, {SQL_BUCKET.format("t.ms")}, count(*)
{_ROWS}
CROSS JOIN LATERAL (VALUES
    ('total', r.total_ms), ('queue', r.queue_ms), ('model', r.model_ms),
    ('fallback', nullif(r.fallback_ms, 0)), ('gateway', r.total_ms - r.queue_ms - r.model_ms - r.fallback_ms)
) AS t (part, ms)
WHERE r.status = 200 AND t.ms IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


@dataclass
class Figures:
    """What ``Traffic`` stores of a group."""

    requests: int = 0
    answered: int = 0
    invalid: int = 0
    validated: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    output_tokens: int = 0
    model_ms: float = 0.0
    fallback_cost: float = 0.0
    times: dict[str, Histogram] = field(default_factory=lambda: {part: {} for part in PARTS})

    def add(self, row: Traffic) -> None:
        """Adds a shorter span."""
        self.requests += row.requests
        self.answered += row.answered
        self.invalid += row.invalid
        self.validated += row.validated
        self.prompt_tokens += row.prompt_tokens
        self.output_tokens += row.output_tokens
        self.model_ms += row.model_ms
        self.fallback_cost += row.fallback_cost
        for name, number in row.errors.items():
            self.errors[name] = self.errors.get(name, 0) + number
        for part, times in self.times.items():
            self.times[part] = merged((times, getattr(row, part)))

    def columns(self) -> dict[str, Any]:
        """Column -> value."""
        values = dict(vars(self))
        del values["times"]
        return {**values, **self.times}


Counted = dict[Minute, dict[Group, Figures]]


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
                starts = {(project, floor(start, seconds)) for project, start in minutes}
                _replace(seconds, starts, _from_shorter(shorter, seconds, starts))
                shorter = seconds
    return len(minutes)


def _take(now: datetime) -> set[Minute]:
    """Deletes marks and returns their minutes."""
    marked = TrafficMark.objects.order_by("-minute").values_list("project_id", "minute").distinct()[:MAX_MINUTES]
    minutes = {(project, floor(minute, 60)) for project, minute in marked}
    if not minutes:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM serving_trafficmark WHERE (project_id, minute) IN"
            " (SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]))",
            [[project for project, _ in minutes], [minute for _, minute in minutes]],
        )
    found: set[Minute] = set()
    for project, minute in minutes:
        if minute < now - _OLDEST:
            continue
        found.add((project, minute))
        if minute < now - SPANS[60] + timedelta(seconds=_LONGEST):
            # Other minutes of its longer spans may be deleted: all of them are counted again.
            first = floor(minute, _LONGEST)
            found |= {(project, first + number * _MINUTE) for number in range(_LONGEST // 60)}
    return found


def _from_log(minutes: set[Minute]) -> Counted:
    found: Counted = defaultdict(lambda: defaultdict(Figures))
    values: dict[str, Any] = {
        "projects": [project for project, _ in minutes],
        "minutes": [minute for _, minute in minutes],
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, values)
        for project, minute, release, stage, source, status, code, number, *sums in cursor.fetchall():
            figures = found[project, minute][release, stage, source]
            figures.requests += number
            if status == 200:
                figures.answered += number
            else:
                name = f"{status} {code}".strip()
                figures.errors[name] = figures.errors.get(name, 0) + number
            figures.invalid += sums[0]
            figures.validated += sums[1]
            figures.prompt_tokens += sums[2]
            figures.output_tokens += sums[3]
            figures.model_ms += sums[4]
            figures.fallback_cost += sums[5]
        cursor.execute(_TIMES, values)
        for project, minute, release, stage, source, part, index, number in cursor.fetchall():
            found[project, minute][release, stage, source].times[part][index] = number
    return found


def _from_shorter(shorter: int, seconds: int, starts: set[Minute]) -> Counted:
    found: Counted = defaultdict(lambda: defaultdict(Figures))
    steps = range(seconds // shorter)
    wanted = [(project, start + timedelta(seconds=shorter * step)) for project, start in starts for step in steps]
    rows = Traffic.objects.filter(
        seconds=shorter, project_id__in={project for project, _ in starts}, start__in={start for _, start in wanted}
    )
    known = set(wanted)
    for row in rows:
        if (row.project_id, row.start) in known:
            found[row.project_id, floor(row.start, seconds)][row.release_id, row.stage, row.source].add(row)
    return found


def _replace(seconds: int, starts: set[Minute], found: Counted) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM serving_traffic WHERE seconds = %s AND (project_id, start) IN"
            " (SELECT * FROM unnest(%s::bigint[], %s::timestamptz[]))",
            [seconds, [project for project, _ in starts], [start for _, start in starts]],
        )
    rows = [
        Traffic(
            project_id=project, seconds=seconds, start=start, release_id=release, stage=stage, source=source,
            **figures.columns(),
        )
        for (project, start), groups in found.items()
        for (release, stage, source), figures in groups.items()
    ]  # fmt: skip
    Traffic.objects.bulk_create(rows, batch_size=500)


def floor(moment: datetime, seconds: int) -> datetime:
    """The start of the span of so many seconds that a moment is in, in UTC."""
    number = int(moment.timestamp()) // seconds * seconds
    return datetime.fromtimestamp(number, UTC)


def delete_old(now: datetime) -> int:
    """Deletes spans and samples that are too old; returns the number of rows."""
    deleted = 0
    for seconds, age in SPANS.items():
        deleted += Traffic.objects.filter(seconds=seconds, start__lt=now - age).delete()[0]
    deleted += HostSample.objects.filter(minute__lt=now - timedelta(days=31)).delete()[0]
    return deleted
