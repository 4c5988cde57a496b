"""A live split: two approved versions share the requests, for one question that is chosen before the first.

Of each event (a document that failed, an answer that was slow) it is known whose it was. If both versions have as many,
it is B's with the probability of its share: ``FailureRatio``, once for each direction. Judged outputs have no share,
as feedback may be given more often for one of them; they are paired in the order in which they were judged, and of
pairs in which one is right each is as likely to be the wrong one: ``PairedFailures``. All of it may be read at any
time. The verdict is set once, and the split goes on until it is stopped.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, models, transaction

from evaluation.stats.sequential import FailureRatio, PairedFailures, needed
from serving.models import Judgment, RequestLog, Stage, TrafficComparison
from serving.rollouts.counts import Step
from serving.rollouts.log_counts import POSITION, count
from slmstudio.periodic import for_each
from slmstudio.runs.models import Status

#: of both directions together
ALPHA = 0.05
CHECK_SECONDS = 5.0


class Question(models.TextChoices):
    """What is compared."""

    FAILURES = "failures", "Failure rate"
    LATENCY = "latency", "Latency"
    ACCURACY = "accuracy", "Accuracy judged by feedback"


#: what is counted
EVENTS = {
    Question.FAILURES: "Documents failed",
    Question.LATENCY: "Slower than the limit",
    Question.ACCURACY: "Judged wrong",
}


@dataclass(frozen=True)
class Split:
    """The plan. ``share``: of the requests that B answers; ``limit_ms``: A's median before the start, for latency."""

    question: str
    share: float
    limit_ms: float | None = None

    @property
    def events(self) -> str:
        """What is counted."""
        return EVENTS[Question(self.question)]

    @property
    def label(self) -> str:
        """The question in words."""
        return str(Question(self.question).label)


@dataclass(frozen=True)
class Arms:
    """Requests and events of both versions; ``b_alone`` and ``a_alone``: of judged pairs, those with one event."""

    a_requests: int = 0
    b_requests: int = 0
    a_events: int = 0
    b_events: int = 0
    a_alone: int | None = None
    b_alone: int | None = None


def evidence(arms: Arms, share: float) -> dict[str, float]:
    """Logarithms of the evidence that A, and that B, has fewer events."""
    if arms.a_alone is not None and arms.b_alone is not None:
        pairs = PairedFailures(arms.b_alone, arms.a_alone)
        # The sign test is two-sided: the direction is that of the counts, and half of alpha is left unused.
        return {"a": 0.0, "b": 0.0, "a" if pairs.worse else "b": pairs.log_e}
    b_worse, a_worse = FailureRatio(), FailureRatio()
    b_worse.add(candidate=arms.b_events, stable=arms.a_events, share=share)
    a_worse.add(candidate=arms.a_events, stable=arms.b_events, share=1 - share)
    return {"a": b_worse.log_e, "b": a_worse.log_e}


def verdict(log_e: dict[str, float]) -> str:
    """``a``, ``b``, or "" where no difference is shown yet. Both directions share alpha."""
    return next((side for side in ("a", "b") if log_e.get(side, 0.0) >= needed(ALPHA / 2)), "")


# -- counting ---------------------------------------------------------------------------------------------------------

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


def median_ms(project_id: int, release_id: int, now: datetime) -> float | None:
    """The median latency of a version in the last day; None without requests."""
    since = now - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(_MEDIAN, [project_id, release_id, since, since.astimezone(UTC).date()])
        median = cursor.fetchone()[0]
    return None if median is None else float(median)


def arms_of(comparison: TrafficComparison, now: datetime) -> Arms:
    """What both versions did since the start."""
    split, since, until = Split(**comparison.plan), comparison.started_at, comparison.finished_at or now
    assert since is not None
    if split.question == Question.ACCURACY:
        return pair_judgments(_judgments(comparison, since, until))
    if split.question == Question.FAILURES:
        step = Step("canary", split.share, comparison.b_id, comparison.a_id, began_at=since, settled_until=since)
        counts = count(
            project_id=comparison.project_id, step=step, rollout_began_at=since, since=since, until=until, p95_ms=None
        )
        return Arms(
            counts.stable_requests, counts.candidate_requests, counts.stable_documents_failed,
            counts.candidate_documents_failed,
        )  # fmt: skip
    values = {
        "project": comparison.project_id, "a": comparison.a_id, "b": comparison.b_id, "share": split.share,
        "limit": split.limit_ms, "since": since, "until": until, "day": since.astimezone(UTC).date(),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_SLOW, values)
        return Arms(*(int(value) for value in cursor.fetchone()))


def _judgments(comparison: TrafficComparison, since: datetime, until: datetime) -> list[tuple[bool, bool]]:
    """(whether it is B's, whether it is right) of each judged request of the split, in the order of the judgments."""
    rows = (
        Judgment.objects.of(comparison.project)
        .filter(release__in=(comparison.a_id, comparison.b_id), requested_at__gte=since, requested_at__lt=until)
        .filter(day__gte=since.astimezone(UTC).date())
    )
    # Of several judgments of a request the most reliable counts.
    order = {source: place for place, source in enumerate(Judgment.Source.values)}
    best: dict[Any, tuple[int, datetime, bool, bool]] = {}
    for judgment in rows.order_by("created_at", "pk"):
        known = best.get(judgment.request_id)
        if known is None or order[judgment.source] > known[0]:
            at = judgment.created_at if known is None else known[1]
            is_b = judgment.release_id == comparison.b_id
            best[judgment.request_id] = (order[judgment.source], at, is_b, judgment.right)
    in_split = RequestLog.objects.filter(id__in=best, stage=Stage.CANARY, shadow_of=None).values_list("id", flat=True)
    kept = sorted((best[pk] for pk in set(in_split)), key=lambda row: row[1])
    return [(is_b, right) for _, _, is_b, right in kept]


def pair_judgments(rows: Sequence[tuple[bool, bool]]) -> Arms:
    """Pairs the judged outputs of both arms in their order: the first of A with the first of B, and so on."""
    a, b = ([right for is_b, right in rows if is_b == side] for side in (False, True))
    pairs = list(zip(a, b, strict=False))
    return Arms(
        len(a), len(b), a.count(False), b.count(False),
        a_alone=sum(right_b and not right_a for right_a, right_b in pairs),
        b_alone=sum(right_a and not right_b for right_a, right_b in pairs),
    )  # fmt: skip


# -- watching ---------------------------------------------------------------------------------------------------------


def check_all(now: datetime) -> None:
    """Counts and judges all running splits; a periodic task."""
    for_each("live splits", TrafficComparison.objects.splits().values_list("pk", flat=True), lambda pk: check(pk, now))


def check(pk: int, now: datetime) -> bool:
    """Counts and judges one split, if no other process does. It ends where another change took B out or away from its
    share."""
    with transaction.atomic():
        rows = TrafficComparison.objects.splits().select_for_update(of=("self",), skip_locked=True)
        comparison = rows.select_related("project__deployment").filter(pk=pk).first()
        if comparison is None:
            return False
        deployment, share = comparison.project.deployment, Split(**comparison.plan).share
        arms = arms_of(comparison, now)
        log_e = evidence(arms, share)
        comparison.result = {"counts": asdict(arms), "log_e": log_e}
        if not comparison.verdict:
            comparison.verdict = verdict(log_e)
            comparison.decided_at = now if comparison.verdict else None
        current = deployment.stable_id, deployment.candidate_id, deployment.stage, deployment.share
        if current != (comparison.a_id, comparison.b_id, Stage.CANARY, share):
            comparison.status, comparison.finished_at = Status.DONE, now
        comparison.save()
    return True
