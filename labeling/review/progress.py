"""Labeling progress: labels per day, annotator and field, and review times. Queries of bounded size."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from labeling.models import Annotation, Project
from slmstudio.contract.schema.compiled import CompiledSchema

#: days a page can look back
WINDOWS = (7, 30, 90)
#: times are computed on this many newest labels; reviews and times per field on fewer
MAX_LABELS = 10_000
MAX_TIMED = 1_000
#: longer times are excluded: the tab was left open
MAX_SECONDS = 3_600.0
#: a row of a query, by column
Row = dict[str, Any]
#: labels with a time from which the remaining work is estimated
MIN_TIMED = 20


def since(days: int) -> datetime:
    """The start of a window of days that ends today."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days - 1)


def days(project: Project, start: datetime) -> list[tuple[date, int, int]]:
    """(day, labels, annotators) of every day from ``start`` to today in the viewer's time zone, also of days without
    labels. Index-only.
    """
    first, today = timezone.localtime(start).date(), timezone.localdate()
    span = [first + timedelta(days=number) for number in range((today - first).days + 1)]
    zone = timezone.get_current_timezone()
    # Day boundaries are computed here, so the database needs no time zone data.
    begins = [datetime.combine(day, time(), zone) for day in span]
    rows = _rows(
        "SELECT day, sum(labels)::int AS labels, count(*) AS people FROM ("
        "SELECT width_bucket(submitted_at, %s::timestamptz[]) AS day, user_id, count(*) AS labels "
        "FROM labeling_annotation WHERE project_id = %s AND submitted_at >= %s AND user_id IS NOT NULL GROUP BY 1, 2"
        ") a GROUP BY 1",
        [begins, project.pk, start],
    )
    counts = {span[row["day"] - 1]: (row["labels"], row["people"]) for row in rows}
    return [(day, *counts.get(day, (0, 0))) for day in span]


def people(project: Project, start: datetime) -> list[Row]:
    """Annotators with labels since ``start``, most labels first: ``name``, ``labels``, time of the ``newest``, and
    ``seconds``, the median per document of the newest 10,000 labels; None without times.
    """
    return _rows(
        "SELECT coalesce(u.username, 'a former member') AS name, c.labels, c.newest, m.seconds FROM ("
        "SELECT user_id, count(*) AS labels, max(submitted_at) AS newest FROM labeling_annotation "
        "WHERE project_id = %s AND submitted_at >= %s AND user_id IS NOT NULL GROUP BY 1) c "
        "LEFT JOIN (SELECT user_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS seconds FROM "
        f"({_NEWEST.format('user_id, seconds', MAX_LABELS)}) a WHERE seconds > 0 AND seconds <= {MAX_SECONDS} "
        "GROUP BY 1) m USING (user_id) LEFT JOIN auth_user u ON u.id = c.user_id ORDER BY labels DESC, name",
        [project.pk, start] * 2,
    )


_NEWEST = (
    "SELECT {0} FROM labeling_annotation WHERE project_id = %s AND submitted_at >= %s AND user_id IS NOT NULL "
    "ORDER BY submitted_at DESC LIMIT {1}"
)
_MEDIANS = (
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY {0}) AS median, "
    "percentile_cont(0.9) WITHIN GROUP (ORDER BY {0}) AS p90"
)


def times(project: Project, start: datetime) -> Row:
    """Seconds per document, of the newest 10,000 ``labels`` since ``start``: ``mean``, ``median`` and ``p90``."""
    return _rows(
        f"SELECT count(*) AS labels, avg(seconds) AS mean, {_MEDIANS.format('seconds')} "
        f"FROM ({_NEWEST.format('seconds', MAX_LABELS)}) a "
        f"WHERE seconds > 0 AND seconds <= {MAX_SECONDS}",
        [project.pk, start],
    )[0]


def work_left(times: Row, documents: int) -> float | None:
    """Seconds of work that some documents need at this pace; None with too few labels for an estimate."""
    enough = times["mean"] is not None and times["labels"] >= MIN_TIMED
    return documents * float(times["mean"]) if enough else None


def field_times(project: Project, compiled: CompiledSchema, start: datetime) -> list[Row]:
    """Seconds with the focus in each field of the schema, longest first, of the newest 1,000 labels since ``start``:
    ``title``, ``median`` of the ``labels`` in which it was visited, and its ``share`` of the longest one.
    """
    rows = _rows(
        "SELECT f.key, percentile_cont(0.5) WITHIN GROUP (ORDER BY f.value::float8) AS median, count(*) AS labels FROM "
        f"({_NEWEST.format('field_seconds', MAX_TIMED)}) a, jsonb_each_text(a.field_seconds) f "
        "WHERE jsonb_typeof(a.field_seconds) = 'object' AND f.value ~ '^[0-9.]{1,12}$' GROUP BY 1",
        [project.pk, start],
    )
    known = [row for row in rows if row["key"] in compiled.by_pattern]
    longest = max((row["median"] for row in known), default=0) or 1
    for row in known:
        row |= {"title": compiled.by_pattern[row["key"]].title, "share": row["median"] / longest}
    return sorted(known, key=lambda row: (-row["median"], row["title"]))


def reviews(project: Project, start: datetime) -> Row:
    """Seconds from submit to decision, of the newest 1,000 labels since ``start``: ``median`` and ``p90`` of
    ``decisions``, of which ``rejected``.

    Excludes fixed and adjudicated labels: their decision is about the reviewer's own revision.
    """
    return _rows(
        f"SELECT count(*) AS decisions, {_MEDIANS.format('w.waited')}, "
        "count(*) FILTER (WHERE w.decision = 'reject') AS rejected FROM ("
        "SELECT r.decision, extract(epoch FROM r.created_at - v.created_at)::float8 AS waited "
        f"FROM ({_NEWEST.format('id', MAX_TIMED)}) a JOIN labeling_review r ON r.annotation_id = a.id "
        "JOIN labeling_annotationrevision v ON v.id = r.revision_id WHERE r.decision IN ('approve', 'reject')) w",
        [project.pk, start],
    )[0]


def labels_ever(project: Project) -> bool:
    """Whether any label was ever submitted."""
    return Annotation.objects.filter(project=project, submitted_at__isnull=False, user__isnull=False).exists()


def _rows(sql: str, params: Sequence[Any]) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
