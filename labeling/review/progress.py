"""Labeling progress: labels per day, annotator and field, and review times. Queries of bounded size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.utils import timezone

from labeling.models import Project
from slmstudio.contract.schema.compiled import CompiledSchema

#: days a page can look back
WINDOWS = (7, 30, 90)
#: times are computed on this many newest labels; reviews and times per field on fewer
MAX_LABELS = 10_000
MAX_TIMED = 1_000
#: longer times are excluded: the tab was left open
MAX_SECONDS = 3_600.0
#: labels with a time from which the remaining work is estimated
MIN_TIMED = 20


@dataclass(frozen=True)
class Day:
    """Labels submitted on a day, and the number of annotators."""

    day: date
    labels: int
    people: int


@dataclass(frozen=True)
class Person:
    """Labels of an annotator in the window; ``seconds``: median per document, None without times."""

    name: str
    labels: int
    seconds: float | None
    newest: datetime


@dataclass(frozen=True)
class Times:
    """Seconds per document: mean, median and 90th percentile of ``labels`` labels."""

    labels: int
    mean: float | None
    median: float | None
    p90: float | None

    def work_left(self, documents: int) -> float | None:
        """Seconds of work that some documents need at this pace; None with too few labels for an estimate."""
        return documents * self.mean if self.mean is not None and self.labels >= MIN_TIMED else None


@dataclass(frozen=True)
class FieldTime:
    """Seconds with the focus in a field, over labels in which it was visited."""

    title: str
    median: float
    labels: int
    share: float


@dataclass(frozen=True)
class Reviews:
    """Seconds from submit to decision: median and 90th percentile of ``decisions`` decisions."""

    decisions: int
    median: float | None
    p90: float | None
    rejected: int


def since(days: int) -> datetime:
    """The start of a window of days that ends today."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days - 1)


def days(project: Project, start: datetime) -> list[Day]:
    """Every day from ``start`` to today in the viewer's time zone, also days without labels. Index-only."""
    first, today = timezone.localtime(start).date(), timezone.localdate()
    span = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    zone = timezone.get_current_timezone()
    # Day boundaries are computed here, so the database needs no time zone data.
    begins = [datetime.combine(day, time(), zone) for day in span]
    rows = _rows(
        "SELECT day, sum(labels)::int, count(*) FROM (SELECT width_bucket(submitted_at, %s::timestamptz[]) AS day, "
        "user_id, count(*) AS labels FROM labeling_annotation WHERE project_id = %s AND submitted_at >= %s "
        "AND user_id IS NOT NULL GROUP BY 1, 2) a GROUP BY 1",
        [begins, project.pk, start],
    )
    found = {span[number - 1]: (labels, people) for number, labels, people in rows}
    return [Day(day, *found.get(day, (0, 0))) for day in span]


def people(project: Project, start: datetime) -> list[Person]:
    """Annotators with labels since ``start``, most labels first. Medians of the newest 10,000 labels."""
    counts = _rows(
        "SELECT user_id, count(*), max(submitted_at) FROM labeling_annotation "
        "WHERE project_id = %s AND submitted_at >= %s AND user_id IS NOT NULL GROUP BY 1",
        [project.pk, start],
    )
    medians = dict(
        _rows(
            "SELECT user_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM "
            f"({_NEWEST.format('user_id, seconds', MAX_LABELS)}) a WHERE seconds > 0 AND seconds <= {MAX_SECONDS} "
            "GROUP BY 1",
            [project.pk, start],
        )
    )
    names = dict(get_user_model().objects.filter(pk__in=[row[0] for row in counts]).values_list("pk", "username"))
    found = [Person(names.get(pk, "a former member"), number, medians.get(pk), newest) for pk, number, newest in counts]
    return sorted(found, key=lambda person: (-person.labels, person.name))


_NEWEST = (
    "SELECT {0} FROM labeling_annotation WHERE project_id = %s AND submitted_at >= %s AND user_id IS NOT NULL "
    "ORDER BY submitted_at DESC LIMIT {1}"
)
_MEDIANS = "percentile_cont(0.5) WITHIN GROUP (ORDER BY {0}), percentile_cont(0.9) WITHIN GROUP (ORDER BY {0})"


def times(project: Project, start: datetime) -> Times:
    """Time per document, of the newest 10,000 labels since ``start``."""
    row = _rows(
        f"SELECT count(*), avg(seconds), {_MEDIANS.format('seconds')} "
        f"FROM ({_NEWEST.format('seconds', MAX_LABELS)}) a "
        f"WHERE seconds > 0 AND seconds <= {MAX_SECONDS}",
        [project.pk, start],
    )[0]
    return Times(*row)


def field_times(project: Project, compiled: CompiledSchema, start: datetime) -> list[FieldTime]:
    """Time per field of the schema, longest first, of the newest 1,000 labels since ``start``."""
    rows = _rows(
        "SELECT f.key, percentile_cont(0.5) WITHIN GROUP (ORDER BY f.value::float8), count(*) FROM "
        f"({_NEWEST.format('field_seconds', MAX_TIMED)}) a, jsonb_each_text(a.field_seconds) f "
        "WHERE jsonb_typeof(a.field_seconds) = 'object' AND f.value ~ '^[0-9.]{1,12}$' GROUP BY 1",
        [project.pk, start],
    )
    known = [(compiled.by_pattern[key], median, number) for key, median, number in rows if key in compiled.by_pattern]
    longest = max((median for _, median, _ in known), default=0) or 1
    found = [FieldTime(field.title, median, number, median / longest) for field, median, number in known]
    return sorted(found, key=lambda row: (-row.median, row.title))


def reviews(project: Project, start: datetime) -> Reviews:
    """Time from submit to decision, of the newest 1,000 labels since ``start``.

    Excludes fixed and adjudicated labels: their decision is about the reviewer's own revision.
    """
    decisions, median, most, sent_back = _rows(
        f"SELECT count(*), {_MEDIANS.format('w.waited')}, count(*) FILTER (WHERE w.decision = 'reject') FROM ("
        "SELECT r.decision, extract(epoch FROM r.created_at - v.created_at)::float8 AS waited "
        f"FROM ({_NEWEST.format('id', MAX_TIMED)}) a JOIN labeling_review r ON r.annotation_id = a.id "
        "JOIN labeling_annotationrevision v ON v.id = r.revision_id WHERE r.decision IN ('approve', 'reject')) w",
        [project.pk, start],
    )[0]
    return Reviews(decisions, median, most, sent_back)


def labels_ever(project: Project) -> bool:
    """Whether any label was ever submitted."""
    return bool(
        _rows(
            "SELECT 1 FROM labeling_annotation WHERE project_id = %s AND submitted_at IS NOT NULL "
            "AND user_id IS NOT NULL LIMIT 1",
            [project.pk],
        )
    )


def _rows(sql: str, params: Sequence[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
