"""Counts of the request log for one step of a rollout, in one query each."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from evaluation.stats.sequential import CallerCount
from labeling.models import Project
from serving.models import Deployment, Release, RequestLog
from serving.rollouts.counts import Counts, Step

#: requests of a replay that is started on the page of the rollout
OFFERED = 1_000
#: a row that says something about the model: an answer, or a failure that is not the caller's. A document that is too
#: long for one of the models is that model's failure, and so is an answer that the larger model gave in its place.
#: Where no replica answered, no model did.
_REPLACED = "{0}.fallback_reason IN ('invalid', 'unavailable')"
_FAILED = (
    "({0}.code <> 'no_replica' AND ({0}.status >= 500 OR {0}.code IN ('too_long', 'queue_full') OR " + _REPLACED + "))"
)
_OUTCOME = "({0}.status = 200 OR " + _FAILED + ")"
#: in shadow, a full queue says nothing: the copy of a request has no right to a place in it
_PAIR_OUTCOME = "({0}.status <> 429 AND " + _OUTCOME + ")"
#: where a key falls in [0, 1), as serving.gateway.routes.position computes it
POSITION = (
    "('x' || substr(encode(sha256(convert_to('split:' || r.key_sha256, 'UTF8')), 'hex'), 1, 13))::bit(52)::bigint"
    "::double precision / 4503599627370496"
)
#: whether the document failed before with the same release, in this rollout
_AGAIN = """EXISTS (
    SELECT 1 FROM serving_requestlog e
    WHERE e.project_id = {0}.project_id AND e.key_sha256 = {0}.key_sha256
      AND (e.status <> 200 OR e.fallback_reason <> '') AND e.release_id = {0}.release_id
      AND e.stage = {0}.stage AND (e.shadow_of IS NULL) = ({0}.shadow_of IS NULL)
      AND e.created_at >= %(rollout)s AND e.day >= %(rollout_day)s AND (e.created_at, e.id) < ({0}.created_at, {0}.id)
      AND {1})"""

# Requests count where the hash sent them: those that went to the other release for want of a replica, or before a
# gateway noticed a new share, are no part of the split. Requests that name a version have no stage.
_CANARY = f"""
SELECT
    count(*) FILTER (WHERE NOT c.candidate),
    count(*) FILTER (WHERE c.candidate),
    count(*) FILTER (WHERE NOT c.candidate AND c.failed),
    count(*) FILTER (WHERE c.candidate AND c.failed),
    count(*) FILTER (WHERE NOT c.candidate AND c.failed AND NOT c.again),
    count(*) FILTER (WHERE c.candidate AND c.failed AND NOT c.again),
    count(*) FILTER (WHERE c.candidate AND NOT c.failed),
    count(*) FILTER (WHERE c.candidate AND NOT c.failed AND c.total_ms > %(p95)s)
FROM (
    SELECT r.release_id = %(candidate)s AS candidate, {_FAILED.format("r")} AS failed, r.total_ms,
        CASE WHEN {_FAILED.format("r")} THEN {_AGAIN.format("r", _FAILED.format("e"))} ELSE false END AS again
    FROM serving_requestlog r
    WHERE r.project_id = %(project)s AND r.created_at >= %(since)s AND r.created_at < %(until)s
      AND r.day BETWEEN %(since_day)s AND %(until_day)s
      AND r.stage = 'canary' AND r.shadow_of IS NULL AND {_OUTCOME.format("r")}
      AND r.release_id = CASE WHEN {POSITION} < %(share)s THEN %(candidate)s ELSE %(stable)s END
) c
"""  # noqa: S608
_SHADOW = f"""
SELECT
    count(*),
    count(*),
    count(*) FILTER (WHERE c.stable_failed),
    count(*) FILTER (WHERE c.failed),
    count(*) FILTER (WHERE c.stable_failed AND NOT c.failed AND NOT c.stable_again),
    count(*) FILTER (WHERE c.failed AND NOT c.stable_failed AND NOT c.again),
    count(*) FILTER (WHERE NOT c.failed),
    count(*) FILTER (WHERE NOT c.failed AND c.total_ms > %(p95)s)
FROM (
    SELECT {_FAILED.format("r")} AS failed, {_FAILED.format("s")} AS stable_failed, r.total_ms,
        CASE WHEN {_FAILED.format("r")} THEN {_AGAIN.format("r", _FAILED.format("e"))} ELSE false END AS again,
        CASE WHEN {_FAILED.format("s")} THEN {_AGAIN.format("s", _FAILED.format("e"))} ELSE false END AS stable_again
    FROM serving_requestlog r
    JOIN serving_requestlog s ON s.id = r.shadow_of AND s.day IN (r.day, r.day - 1)
    WHERE r.project_id = %(project)s AND r.created_at >= %(since)s AND r.created_at < %(until)s
      AND r.day BETWEEN %(since_day)s AND %(until_day)s
      AND r.stage = 'shadow' AND r.protocol <> 'replay' AND r.release_id = %(candidate)s AND {_PAIR_OUTCOME.format("r")}
      AND s.project_id = %(project)s AND s.release_id = %(stable)s AND {_PAIR_OUTCOME.format("s")}
) c
"""  # noqa: S608
# A replay repeats a request of any day. It waits for live traffic, so its latency says nothing.
_REPLAY = (
    _SHADOW.replace(" AND s.day IN (r.day, r.day - 1)", "")
    .replace("r.protocol <> 'replay'", "r.protocol = 'replay'")
    .replace("count(*) FILTER (WHERE NOT c.failed)", "0")
    .replace("count(*) FILTER (WHERE NOT c.failed AND c.total_ms > %(p95)s)", "0")
)
_AGREEMENT = """
SELECT count(*), count(*) FILTER (WHERE r.agreement < 0.5)
FROM serving_requestlog r
WHERE r.project_id = %(project)s AND r.created_at >= %(since)s AND r.created_at < %(until)s
  AND r.day BETWEEN %(since_day)s AND %(until_day)s AND r.stage = %(stage)s AND r.shadow_of IS NOT NULL
  AND r.agreement IS NOT NULL AND r.release_id IN (%(candidate)s, %(stable)s)
"""
# With sticky callers the split is by caller; see serving.gateway.responder.caller_name. Requests before the rollout
# show how often a caller's requests fail with the stable release.
_NAME = "CASE WHEN r.caller <> '' THEN 'caller:' || r.caller ELSE 'token:' || coalesce(r.token_id, 0) END"
_CALLER_POSITION = POSITION.replace("r.key_sha256", "encode(sha256(convert_to(c.name, 'UTF8')), 'hex')")
_CALLERS = f"""
SELECT {_CALLER_POSITION} < %(share)s,
    count(*) FILTER (WHERE NOT c.past AND c.release_id = CASE WHEN {_CALLER_POSITION} < %(share)s
        THEN %(candidate)s ELSE %(stable)s END),
    count(*) FILTER (WHERE NOT c.past AND c.failed AND c.release_id = CASE WHEN {_CALLER_POSITION} < %(share)s
        THEN %(candidate)s ELSE %(stable)s END),
    count(*) FILTER (WHERE c.past AND c.release_id = %(stable)s),
    count(*) FILTER (WHERE c.past AND c.release_id = %(stable)s AND c.failed)
FROM (
    SELECT {_NAME} AS name, r.release_id, {_FAILED.format("r")} AS failed, r.created_at < %(rollout)s AS past
    FROM serving_requestlog r
    WHERE r.project_id = %(project)s AND r.day BETWEEN %(past_day)s AND %(until_day)s AND r.shadow_of IS NULL
      AND {_OUTCOME.format("r")} AND r.created_at < %(until)s
      AND (r.created_at < %(rollout)s OR (r.created_at >= %(since)s AND r.stage = 'canary'))
) c
GROUP BY c.name
"""  # noqa: S608
#: days before a rollout that show how often a caller's requests fail
_PAST_DAYS = 7


def count_callers(*, project_id: int, step: Step, rollout_began_at: datetime, until: datetime) -> list[CallerCount]:
    """What each caller sent in a step with sticky callers, and before the rollout."""
    values: dict[str, Any] = {
        "project": project_id, "candidate": step.release, "stable": step.stable, "share": step.share,
        "since": step.began_at, "until": until, "until_day": _day(until), "rollout": rollout_began_at,
        "past_day": _day(rollout_began_at - timedelta(days=_PAST_DAYS)),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_CALLERS, values)
        return [CallerCount(bool(row[0]), *(int(value) for value in row[1:])) for row in cursor.fetchall()]


def count(
    *, project_id: int, step: Step, rollout_began_at: datetime, since: datetime, until: datetime, p95_ms: float | None
) -> Counts:
    """What the log has of a step, of requests that began in [since, until)."""
    if since >= until:
        return Counts()
    values: dict[str, Any] = {
        "project": project_id, "candidate": step.release, "stable": step.stable, "share": step.share,
        "since": since, "until": until, "since_day": _day(since), "until_day": _day(until),
        "rollout": rollout_began_at, "rollout_day": _day(rollout_began_at),
        "p95": float("inf") if p95_ms is None else p95_ms,
    }  # fmt: skip
    counts = Counts()
    with connection.cursor() as cursor:
        for query in (_SHADOW, _REPLAY) if step.is_shadow else (_CANARY,):
            cursor.execute(query, values)
            counts += Counts(*(int(value) for value in cursor.fetchone()))
        cursor.execute(_AGREEMENT, {**values, "stage": step.stage})
        counts.compared, counts.disagreed = (int(value) for value in cursor.fetchone())
    if p95_ms is None:
        counts.candidate_timed = counts.candidate_slow = 0
    return counts


def requests_per_hour(project_id: int, now: datetime, hours: int = 24) -> float:
    """Requests of callers in the last hours, per hour; of the time since the first of them where that is shorter."""
    since = now - timedelta(hours=hours)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), min(created_at) FROM serving_requestlog WHERE project_id = %s AND created_at >= %s"
            " AND created_at < %s AND day >= %s AND shadow_of IS NULL",
            [project_id, since, now, _day(since)],
        )
        number, first = cursor.fetchone()
    if not number:
        return 0.0
    # At least one hour: a few requests in the first minute are no rate.
    return float(number / max(1.0, (now - first).total_seconds() / 3600))


def _day(moment: datetime) -> Any:
    return moment.astimezone(UTC).date()


def pending(project: Project, stable: Release, candidate: Release, limit: int) -> list[tuple[Any, Any]]:
    """Day and id of stored requests that the stable version answered or failed, the newest first, without those that
    the candidate answered already. Each document once."""
    with_text = RequestLog.objects.filter(project_id=project.pk, release=stable, shadow_of=None).exclude(text="")
    rows = with_text.filter(status=200) | with_text.filter(status__gte=500)
    answered = RequestLog.objects.filter(project_id=project.pk, release=candidate, shadow_of__isnull=False).exclude(
        status=429
    )
    known = set(answered.values_list("key_sha256", flat=True))
    requests: list[tuple[Any, Any]] = []
    for day, pk, key in rows.order_by("-created_at").values_list("day", "id", "key_sha256").iterator():
        if key not in known and key:
            known.add(key)
            requests.append((day, pk))
            if len(requests) == limit:
                break
    return requests


def available(deployment: Deployment) -> int | None:
    """How many requests a replay for the candidate would send; None where more than ``OFFERED`` are stored, of which
    some may be answered already."""
    stable, candidate = deployment.stable, deployment.candidate
    if stable is None or candidate is None:
        return 0
    stored = RequestLog.objects.filter(project_id=deployment.project_id, release=stable, shadow_of=None)
    if len(stored.exclude(text="").values_list("id", flat=True)[: OFFERED + 1]) > OFFERED:
        return None
    return len(pending(deployment.project, stable, candidate, OFFERED))
