"""Draws requests for review: counts what was answered, and puts the drawn requests in the queue.

``draw_all`` is a periodic task; a plan is locked while its requests are read. A request is
considered once, after it has surely ended.
"""

import logging
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from serving.feedback import selection
from serving.feedback.predictors import predictor
from serving.feedback.queue_items import add_draws
from serving.feedback.selection import Rates
from serving.models import Deployment, Judgment, RequestLog, SampleDay, SamplePlan
from serving.models.review import Draw, Reason
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import count_differences

logger = logging.getLogger(__name__)
#: seconds that a request may take longer than the gateway's limit until its row is in the table
STORED_WITHIN = 15
#: what is read of the past when sampling begins, and at a time
FIRST = timedelta(days=1)
WINDOW = timedelta(hours=1)
CHUNK = 2_000
_COLUMNS = (
    "id", "day", "created_at", "release_id", "source", "status", "code", "confidence", "lowest", "needs_review",
    "audited", "audit_probability",
)  # fmt: skip


def draw_all(now: datetime | None = None) -> int:
    """Draws for every deployment; returns how many requests were drawn."""
    moment = now or timezone.now()
    drawn = 0
    for deployment in Deployment.objects.order_by("pk").values_list("pk", flat=True):
        try:
            drawn += draw(deployment, moment)
        except Exception:  # other projects go on
            logger.exception("requests of deployment %s were not drawn", deployment)
    return drawn


def draw(deployment_id: int, now: datetime) -> int:
    """Draws from the requests that ended since the last time; 0 where another process does."""
    SamplePlan.objects.get_or_create(deployment_id=deployment_id)
    until = now - timedelta(seconds=settings.GATEWAY_TIMEOUT_SECONDS + STORED_WITHIN)
    drawn = 0
    while True:
        with transaction.atomic():
            rows = SamplePlan.objects.select_for_update(of=("self",), skip_locked=True)
            plan = rows.select_related("deployment__project").filter(deployment_id=deployment_id).first()
            if plan is None:
                return drawn
            since = plan.drawn_until or until - FIRST
            end = min(until, since + WINDOW)
            if since >= end:
                return drawn
            drawn += _Pass(plan, since, end).run()
            plan.drawn_until = end
            plan.save(update_fields=["drawn_until"])


@dataclass(slots=True)
class Candidate:
    """A request with the reasons that it has."""

    id: uuid.UUID
    day: date
    created_at: datetime
    release_id: int
    reasons: dict[str, float] = field(default_factory=dict)
    predictor: float | None = None
    audit_probability: float = 1.0


@dataclass
class _Pass:
    """The requests of one deployment in [since, until)."""

    plan: SamplePlan
    since: datetime
    until: datetime
    _days: dict[tuple[date, int], SampleDay] = field(default_factory=dict)

    def run(self) -> int:
        project = self.plan.deployment.project
        floor = self.plan.low_confidence
        limit = project.confidence_floor if floor is None else floor
        found = [self._candidate(row, limit) for row in self._rows()]
        found += self._shadow_candidates()
        found += self._feedback_candidates()
        seen = self._seen(found)
        self._save_days(found)
        if not self.plan.deployment.retention_days:
            return 0  # there is no text to review
        drawn = self._drawn(found, seen)
        return add_draws(project, self.plan, drawn)

    def _rows(self) -> Iterable[dict[str, Any]]:
        rows = RequestLog.objects.filter(
            project_id=self.plan.deployment.project_id, shadow_of=None, release__isnull=False,
            created_at__gte=self.since, created_at__lt=self.until,
            day__gte=self.since.astimezone(UTC).date(), day__lte=self.until.astimezone(UTC).date(),
        )  # fmt: skip
        found: Iterable[dict[str, Any]] = rows.order_by("created_at").values(*_COLUMNS).iterator(chunk_size=CHUNK)
        return found

    def _candidate(self, row: dict[str, Any], limit: float) -> Candidate:
        found = Candidate(row["id"], row["day"], row["created_at"], row["release_id"])
        day = self._day(found)
        day.requests += 1
        if row["status"] != 200:
            if row["code"] in selection.FAILURE_CODES:
                found.reasons[Reason.FAILURE] = 0.0
            return found
        day.answered += 1
        found.reasons[Reason.UNIFORM] = 0.0
        found.predictor = _expected(row)
        if row["needs_review"]:
            found.reasons[Reason.REVIEW] = 0.0
        if row["audited"]:
            found.reasons[Reason.AUDIT] = 0.0
            found.audit_probability = row["audit_probability"] or 1.0
        if found.predictor is not None:
            day.predicted += 1
            day.predictor_sum += found.predictor
            day.predictor_squares += found.predictor**2
            if found.predictor < limit:
                found.reasons[Reason.LOW_CONFIDENCE] = 0.0
        if row["source"] == RequestLog.Source.FALLBACK:
            found.reasons[Reason.FALLBACK] = 0.0
        return found

    def _day(self, request: Candidate) -> SampleDay:
        key = request.day, request.release_id
        if key not in self._days:
            project = self.plan.deployment.project
            row = SampleDay.objects.filter(project=project, day=request.day, release_id=request.release_id).first()
            self._days[key] = row or SampleDay(project=project, day=request.day, release_id=request.release_id)
        return self._days[key]

    # -- reasons that are in other rows ---------------------------------------------------------------------------

    def _shadow_candidates(self) -> list[Candidate]:
        """Requests whose output in shadow is another one."""
        shadows = RequestLog.objects.filter(
            project_id=self.plan.deployment.project_id, shadow_of__isnull=False, status=200,
            created_at__gte=self.since, created_at__lt=self.until, day__gte=self.since.astimezone(UTC).date(),
        ).exclude(output="")  # fmt: skip
        pairs = list(shadows.values_list("shadow_of", "output", "day"))
        found = []
        schema = self.plan.deployment.project.schema_version.compiled
        for at in range(0, len(pairs), CHUNK):
            part: dict[Any, str] = {shadow_of: output for shadow_of, output, _ in pairs[at : at + CHUNK]}
            days = {day - timedelta(days=ago) for _, _, day in pairs[at : at + CHUNK] for ago in (0, 1)}
            rows = RequestLog.objects.filter(id__in=part, day__in=days, status=200, release__isnull=False)
            for row in rows.values(*_COLUMNS, "output"):
                if row["output"] and _differ(schema, row["output"], part[row["id"]]):
                    found.append(_other(row, Reason.SHADOW))
        return found

    def _feedback_candidates(self) -> list[Candidate]:
        """Requests that a caller called wrong; feedback may arrive days later."""
        judged = Judgment.objects.filter(
            project=self.plan.deployment.project, source=Judgment.Source.CALLER, right=False,
            updated_at__gte=self.since, updated_at__lt=self.until,
        )  # fmt: skip
        days = dict(judged.values_list("request_id", "day"))
        rows = RequestLog.objects.filter(id__in=days, day__in=set(days.values()), release__isnull=False)
        return [_other(row, Reason.FEEDBACK) for row in rows.values(*_COLUMNS)]

    # -- drawing --------------------------------------------------------------------------------------------------

    def _seen(self, found: Sequence[Candidate]) -> Counter[str]:
        """Reason -> requests that have it in a day: of yesterday, or of today where there are more."""
        now = Counter(reason for one in found for reason in one.reasons)
        today = self.until.astimezone(UTC).date()
        before: defaultdict[date, Counter[str]] = defaultdict(Counter)
        rows = SampleDay.objects.filter(
            project=self.plan.deployment.project, day__gte=today - timedelta(days=1), day__lte=today
        )
        for row in rows:
            before[row.day].update(row.reasons)
        yesterday, so_far = before[today - timedelta(days=1)], before[today]
        return Counter({
            reason: max(yesterday[reason], so_far[reason] + now[reason]) for reason in (*now, *yesterday)
        })  # fmt: skip

    def _save_days(self, found: Sequence[Candidate]) -> None:
        for one in found:
            day = self._day(one)
            for reason in one.reasons:
                day.reasons[str(reason)] = day.reasons.get(reason, 0) + 1
        for row in self._days.values():
            row.save()

    def _drawn(self, found: Sequence[Candidate], seen: Counter[str]) -> list[Candidate]:
        plan = self.plan
        rates = Rates(plan.share, plan.per_day, plan.targeted_per_day)
        probabilities = {reason: rates.probability(reason, seen[reason]) for reason in seen}
        drawn: dict[uuid.UUID, Candidate] = {}
        for one in found:
            reasons = selection.drawn(str(one.id), {reason: probabilities[reason] for reason in one.reasons})
            if not reasons:
                continue
            if Reason.AUDIT in reasons:  # the gateway drew it
                reasons[str(Reason.AUDIT)] = one.audit_probability
            if one.id in drawn:
                drawn[one.id].reasons |= reasons
            else:
                one.reasons = reasons
                drawn[one.id] = one
        return list(drawn.values())


def _other(row: dict[str, Any], reason: str) -> Candidate:
    answered = row["status"] == 200
    return Candidate(
        row["id"], row["day"], row["created_at"], row["release_id"], {reason: 0.0},
        _expected(row) if answered else None,
    )  # fmt: skip


def _expected(row: dict[str, Any]) -> float | None:
    """How likely the output is right: the lowest confidence, calibrated where it can be."""
    lowest: float | None = row["lowest"]
    return predictor(row["confidence"]) if lowest is None else lowest


def _differ(schema: CompiledSchema, one: str, other: str) -> bool:
    try:
        return count_differences(schema, loads(one), loads(other))[0] > 0
    except (JsonError, ValueError):
        return True


def judged_per_day(project_id: int, now: datetime, days: int = 7) -> float:
    """Requests of the uniform sample that were judged in the last days, per day."""
    since = now - timedelta(days=days)
    sample = Draw.objects.filter(project_id=project_id, uniform_probability__isnull=False)
    judged = Judgment.objects.filter(project_id=project_id, created_at__gte=since).by_people_of_the_project()
    requests = judged.filter(request_id__in=sample.values("request_id")).values("request_id").distinct().count()
    return requests / days


def answered_requests(project_id: int, since: date) -> int:
    """Answered requests since a day."""
    rows = SampleDay.objects.filter(project_id=project_id, day__gte=since)
    return int(rows.aggregate(total=Sum("answered"))["total"] or 0)
