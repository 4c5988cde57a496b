"""Counts of both arms of an A/B test from the request log and from judgments."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from serving.experiments.verdicts import Arms
from serving.models import Experiment, Judgment, RequestLog, Stage
from serving.rollouts.counts import Step
from serving.rollouts.log_counts import POSITION, count

Question = Experiment.Question

_SLOW = f"""
SELECT count(*) FILTER (WHERE NOT c.b), count(*) FILTER (WHERE c.b),
    count(*) FILTER (WHERE NOT c.b AND c.total_ms > %(limit)s), count(*) FILTER (WHERE c.b AND c.total_ms > %(limit)s)
FROM (
    SELECT r.release_id = %(b)s AS b, r.total_ms
    FROM serving_requestlog r
    WHERE r.project_id = %(project)s AND r.created_at >= %(since)s AND r.created_at < %(until)s AND r.day >= %(day)s
      AND r.stage = 'canary' AND r.shadow_of IS NULL AND r.status = 200
      AND r.release_id = CASE WHEN {POSITION} < %(share)s THEN %(b)s ELSE %(a)s END
) c
"""  # noqa: S608
_MEDIAN = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total_ms) FROM serving_requestlog
WHERE project_id = %s AND release_id = %s AND created_at >= %s AND day >= %s AND shadow_of IS NULL AND status = 200
"""


def arms(experiment: Experiment, now: datetime) -> Arms:
    """What both versions did since the start."""
    until = experiment.ended_at or now
    if experiment.question == Question.FAILURES:
        return _failures(experiment, until)
    if experiment.question == Question.LATENCY:
        return _slow(experiment, until)
    return judged(_judgments(experiment, until))


def _failures(experiment: Experiment, until: datetime) -> Arms:
    since = experiment.started_at
    step = Step("canary", experiment.share, experiment.b_id, experiment.a_id, began_at=since, settled_until=since)
    found = count(
        project_id=experiment.deployment.project_id, step=step, rollout_began_at=since, since=since, until=until,
        p95_ms=None,
    )  # fmt: skip
    return Arms(
        found.stable_requests, found.candidate_requests, found.stable_documents_failed,
        found.candidate_documents_failed,
    )  # fmt: skip


def _slow(experiment: Experiment, until: datetime) -> Arms:
    values = {
        "project": experiment.deployment.project_id, "a": experiment.a_id, "b": experiment.b_id,
        "share": experiment.share, "limit": experiment.limit_ms, "since": experiment.started_at, "until": until,
        "day": experiment.started_at.astimezone(UTC).date(),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_SLOW, values)
        row = cursor.fetchone()
    return Arms(*(int(value) for value in row))


def median_ms(project_id: int, release_id: int, now: datetime) -> float | None:
    """The median latency of a release in the last day; None without requests."""
    since = now - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(_MEDIAN, [project_id, release_id, since, since.astimezone(UTC).date()])
        found = cursor.fetchone()[0]
    return None if found is None else float(found)


def _judgments(experiment: Experiment, until: datetime) -> list[tuple[bool, bool]]:
    """(whether it is B's, whether it is right) of each judged request of the split, in the order of the judgments."""
    rows = (
        Judgment.objects.of(experiment.deployment.project)
        .filter(release__in=(experiment.a_id, experiment.b_id), requested_at__gte=experiment.started_at)
        .filter(requested_at__lt=until, day__gte=experiment.started_at.astimezone(UTC).date())
    )
    # Of several judgments of a request the most reliable counts.
    order = {source: place for place, source in enumerate(Judgment.Source.values)}
    best: dict[Any, tuple[int, datetime, bool, bool]] = {}
    for one in rows.order_by("created_at", "pk"):
        known = best.get(one.request_id)
        if known is None or order[one.source] > known[0]:
            at = one.created_at if known is None else known[1]
            best[one.request_id] = (order[one.source], at, one.release_id == experiment.b_id, one.right)
    in_split = RequestLog.objects.filter(id__in=best, stage=Stage.CANARY, shadow_of=None).values_list("id", flat=True)
    kept = set(in_split)
    return [(is_b, right) for pk, (_, _, is_b, right) in sorted(best.items(), key=_moment) if pk in kept]


def _moment(item: tuple[Any, tuple[int, datetime, bool, bool]]) -> datetime:
    return item[1][1]


def judged(rows: Sequence[tuple[bool, bool]]) -> Arms:
    """Pairs the judged outputs of both arms in their order: the first of A with the first of B, and so on."""
    a, b = ([right for is_b, right in rows if is_b == side] for side in (False, True))
    pairs = list(zip(a, b, strict=False))
    return Arms(
        len(a), len(b), a.count(False), b.count(False),
        a_alone=sum(right_b and not right_a for right_a, right_b in pairs),
        b_alone=sum(right_a and not right_b for right_a, right_b in pairs),
    )  # fmt: skip


__all__: list[Any] = ["arms", "judged", "median_ms"]
