"""Draws requests for review, and puts them in the queue: one item for each text, near-duplicates under one.

Answered requests are drawn at random with the sampling rate of the deployment; live accuracy and the error budget are
measured on these. Requests with a sign that something is wrong are drawn too, up to a number a day. ``draw_all`` is a
periodic task; a plan is locked while its requests are read. A request is considered once, after it has surely ended.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Any

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from labeling.datasets.near_duplicates import THRESHOLD, MinHashIndex
from labeling.models import Project
from serving.models import AnswerPolicy, Deployment, Judgment, RequestLog, SampleDay, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem
from serving.review.queue import severity
from serving.review.redaction import redact
from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring.scorer import count_differences
from slmstudio.periodic import for_each

#: requests that are drawn for each of these reasons in a day, at most
PER_DAY = 50
_LIMITED = frozenset({Reason.FAILURE, Reason.SHADOW, Reason.FALLBACK, Reason.LOW_CONFIDENCE})
#: error codes of requests whose document says something about the model
_FAILURE_CODES = frozenset({"invalid_output", "grammar", "too_long"})
#: seconds that a request may take longer than the gateway's limit until its row is in the table
_STORED_WITHIN = 15
#: what is read of the past when sampling begins, and at a time
_FIRST, _WINDOW, _CHUNK = timedelta(days=1), timedelta(hours=1), 2_000
_COLUMNS = (
    "id", "day", "created_at", "release_id", "source", "status", "code", "confidence", "lowest", "needs_review",
    "automatic",
)  # fmt: skip
#: newest leaders that a new text is compared with
MAX_LEADERS = 3_000
Status = ReviewItem.Status


def draw_all(now: datetime | None = None) -> int:
    """Draws for every deployment; returns how many requests were drawn."""
    moment = now or timezone.now()
    keys = Deployment.objects.order_by("pk").values_list("pk", flat=True)
    return for_each("drawing requests of a deployment", keys, lambda pk: draw(pk, moment))


def draw(deployment_id: int, now: datetime) -> int:
    """Draws from the requests that ended since the last time; 0 where another process does."""
    SamplePlan.objects.get_or_create(deployment_id=deployment_id)
    until = now - timedelta(seconds=settings.GATEWAY_TIMEOUT_SECONDS + _STORED_WITHIN)
    drawn = 0
    while True:
        with transaction.atomic():
            rows = SamplePlan.objects.select_for_update(of=("self",), skip_locked=True)
            plan = rows.select_related("deployment__project").filter(deployment_id=deployment_id).first()
            if plan is None:
                return drawn
            since = plan.drawn_until or until - _FIRST
            end = min(until, since + _WINDOW)
            if since >= end:
                return drawn
            drawn += _Window(plan, since, end).draw()
            plan.drawn_until = end
            plan.save(update_fields=["drawn_until"])


@dataclass(slots=True)
class Candidate:
    """A request with the reasons to review it; ``confidence``: how likely its output is right, if known."""

    id: uuid.UUID
    day: date
    created_at: datetime
    release_id: int
    confidence: float | None
    automatic: bool
    reasons: set[str] = field(default_factory=set)


def position(request_id: object) -> float:
    """Where a request falls in [0, 1): uniform, the same on every machine, and independent of its answer."""
    return int(hashlib.sha256(f"draw:uniform:{request_id}".encode()).hexdigest()[:13], 16) / 16**13


def confidence_floor(deployment: Deployment) -> float:
    """Below it the confidence of a field is low: the threshold of the answer policy, or else the project's limit for
    pre-filled fields."""
    policy = AnswerPolicy.objects.filter(deployment=deployment).first()
    threshold = policy.min_confidence if policy is not None else None
    return deployment.project.confidence_floor if threshold is None else threshold


def ordered(reasons: Iterable[str]) -> list[str]:
    """Reasons, the most urgent first."""
    return sorted({str(reason) for reason in reasons}, key=Reason.values.index)


@dataclass
class _Window:
    """The requests of one deployment in [since, until)."""

    plan: SamplePlan
    since: datetime
    until: datetime
    candidates: dict[uuid.UUID, Candidate] = field(default_factory=dict)

    @cached_property
    def floor(self) -> float:
        """The limit of a low confidence."""
        return confidence_floor(self.plan.deployment)

    def draw(self) -> int:
        self._note_answers()
        self._note_shadows()
        self._note_feedback()
        if not self.plan.deployment.retention_days:
            return 0  # there is no text to review
        return add_draws(self.plan, self._drawn())

    def _note(self, row: Mapping[str, Any], reasons: Iterable[str]) -> None:
        confidence = None
        if row["status"] == 200:  # the lowest confidence of a field, calibrated where it can be
            lows = [value[0] if isinstance(value, list) else value for value in row["confidence"].values()]
            confidence = min(lows, default=None) if row["lowest"] is None else row["lowest"]
        automatic = row["automatic"] and row["source"] != RequestLog.Source.FALLBACK
        values = row["id"], row["day"], row["created_at"], row["release_id"], confidence, automatic
        candidate = self.candidates.setdefault(row["id"], Candidate(*values))
        candidate.reasons |= set(reasons)
        if Reason.UNIFORM in candidate.reasons and confidence is not None and confidence < self.floor:
            candidate.reasons.add(Reason.LOW_CONFIDENCE)

    def _rows(self) -> Any:
        return RequestLog.objects.filter(
            project_id=self.plan.deployment.project_id, created_at__gte=self.since, created_at__lt=self.until,
            day__gte=self.since.astimezone(UTC).date(), day__lte=self.until.astimezone(UTC).date(),
        )  # fmt: skip

    def _note_answers(self) -> None:
        """Counts the requests of callers by day and release, and notes those that may be reviewed."""
        requests: Counter[tuple[date, int]] = Counter()
        answered: Counter[tuple[date, int]] = Counter()
        rows = self._rows().filter(shadow_of=None, release__isnull=False).order_by("created_at")
        for row in rows.values(*_COLUMNS).iterator(chunk_size=_CHUNK):
            requests[row["day"], row["release_id"]] += 1
            answered[row["day"], row["release_id"]] += row["status"] == 200
            if row["status"] == 200:
                self._note(row, {
                    Reason.UNIFORM,
                    *([Reason.REVIEW] if row["needs_review"] else []),
                    *([Reason.FALLBACK] if row["source"] == RequestLog.Source.FALLBACK else []),
                })  # fmt: skip
            elif row["code"] in _FAILURE_CODES:
                self._note(row, {Reason.FAILURE})
        project = self.plan.deployment.project
        for (day, release), number in requests.items():
            row, _ = SampleDay.objects.get_or_create(project=project, day=day, release_id=release)
            more = {"requests": F("requests") + number, "answered": F("answered") + answered[day, release]}
            SampleDay.objects.filter(pk=row.pk).update(**more)

    def _note_shadows(self) -> None:
        """Notes requests whose output in shadow is another one."""
        shadows = self._rows().filter(shadow_of__isnull=False, status=200).exclude(output="")
        pairs = list(shadows.values_list("shadow_of", "output", "day"))
        schema = self.plan.deployment.project.schema_version.compiled
        for at in range(0, len(pairs), _CHUNK):
            outputs: dict[Any, str] = {request: output for request, output, _ in pairs[at : at + _CHUNK]}
            days = {day - timedelta(days=ago) for _, _, day in pairs[at : at + _CHUNK] for ago in (0, 1)}
            rows = RequestLog.objects.filter(id__in=outputs, day__in=days, status=200, release__isnull=False)
            for row in rows.exclude(output="").values(*_COLUMNS, "output"):
                if _differ(schema, row["output"], outputs[row["id"]]):
                    self._note(row, {Reason.SHADOW})

    def _note_feedback(self) -> None:
        """Notes requests that a caller called wrong; feedback may arrive days later."""
        judged = Judgment.objects.of(self.plan.deployment.project).filter(
            source=Judgment.Source.CALLER, right=False, updated_at__gte=self.since, updated_at__lt=self.until
        )
        days = dict(judged.values_list("request_id", "day"))
        rows = RequestLog.objects.filter(id__in=days, day__in=set(days.values()), release__isnull=False)
        for row in rows.values(*_COLUMNS):
            self._note(row, {Reason.FEEDBACK})

    def _drawn(self) -> list[Candidate]:
        """The drawn candidates, with the reasons that they are drawn for."""
        today = datetime.combine(self.until.astimezone(UTC).date(), time(), UTC)
        earlier = Draw.objects.filter(project=self.plan.deployment.project_id, created_at__gte=today)
        counts = Counter(reason for reasons in earlier.values_list("reasons", flat=True) for reason in reasons)
        drawn = []
        # In a random order, so that what is drawn for a reason does not depend on the hour of the window.
        for candidate in sorted(self.candidates.values(), key=lambda candidate: position(candidate.id)):
            if position(candidate.id) >= self.plan.share:
                candidate.reasons.discard(Reason.UNIFORM)
            candidate.reasons = {r for r in candidate.reasons if r not in _LIMITED or counts[r] < PER_DAY}
            counts.update(candidate.reasons)
            if candidate.reasons:
                drawn.append(candidate)
        return drawn


def _differ(schema: CompiledSchema, output: str, other: str) -> bool:
    try:
        return count_differences(schema, loads(output), loads(other))[0] > 0
    except (JsonError, ValueError):
        return True


# -- items of the queue -----------------------------------------------------------------------------------------------


def text_key(text: str) -> str:
    """The key of a text in the queue."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def add_draws(plan: SamplePlan, drawn: Sequence[Candidate]) -> int:
    """Stores drawn requests and puts them in the queue; returns how many are new. Requests without a stored text are
    left out. Call it in a transaction that holds the plan.
    """
    known = Draw.objects.in_bulk([candidate.id for candidate in drawn], field_name="request_id")
    for candidate in drawn:
        if candidate.id in known:
            _add_reasons(known[candidate.id], candidate)
    fresh = [candidate for candidate in drawn if candidate.id not in known]
    queue = _Queue(plan)
    added = 0
    for candidate, text in _texts(fresh):
        queue.add(candidate, text)
        added += 1
    return added


def _texts(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, str]]:
    days = {candidate.day for candidate in candidates}
    rows = RequestLog.objects.filter(id__in=[candidate.id for candidate in candidates], day__in=days).exclude(text="")
    texts = dict(rows.values_list("id", "text"))
    return ((candidate, texts[candidate.id]) for candidate in candidates if candidate.id in texts)


def _add_reasons(row: Draw, candidate: Candidate) -> None:
    """A reason that was noted after the request had been drawn."""
    more = candidate.reasons - set(row.reasons) - {Reason.UNIFORM}
    if not more:
        return
    row.reasons = ordered([*row.reasons, *more])
    row.save(update_fields=["reasons"])
    item = row.item
    if item is not None:
        _note_reasons(item, more, candidate.confidence)
        if item.status == Status.DISMISSED:
            _reopen(item)
        item.save()


def _note_reasons(item: ReviewItem, reasons: Iterable[str], confidence: float | None) -> None:
    item.reasons = ordered([*item.reasons, *reasons])
    item.reason = item.reasons[0]
    item.severity = max(item.severity, severity(reasons, confidence))


def _reopen(item: ReviewItem) -> None:
    item.status, item.decided_by, item.decided_at = Status.OPEN, None, None


class _Queue:
    """The queue of a project while requests are added."""

    def __init__(self, plan: SamplePlan) -> None:
        self._project: Project = plan.deployment.project
        self._plan = plan
        self._leaders: list[int] | None = None
        self._signatures = np.empty((0, 0), dtype=np.uint8)

    def add(self, candidate: Candidate, text: str) -> None:
        """Adds a request to the item of its text."""
        key = text_key(redact(text, self._plan.redact))
        item = ReviewItem.objects.filter(project=self._project, text_sha256=key).first()
        is_new = item is None
        if item is None:
            item = ReviewItem(project=self._project, text_sha256=key)
        is_uniform = Reason.UNIFORM in candidate.reasons
        item.draws_count += 1
        _note_reasons(item, candidate.reasons, candidate.confidence)
        if is_uniform:  # it needs a judgment of its own
            item.leader = None
            if item.status in (Status.DISMISSED, Status.RIGHT):
                _reopen(item)
        if item.status == Status.OPEN:
            item.request_id, item.day, item.release_id = candidate.id, candidate.day, candidate.release_id
        item.judged_by = None  # the gold label of its document, if any, judges this request, too
        if is_new and not is_uniform:
            self._group(item, text)
        item.save()
        if is_new:
            self._note_item(item)
        Draw.objects.create(
            project=self._project, item=item, request_id=candidate.id, day=candidate.day,
            created_at=candidate.created_at, release_id=candidate.release_id, reasons=ordered(candidate.reasons),
            uniform_probability=self._plan.share if is_uniform else None, is_audited=is_uniform and candidate.automatic,
        )  # fmt: skip

    def _note_item(self, item: ReviewItem) -> None:
        """A near-duplicate counts for its leader; another item leads those to come."""
        if item.leader_id is not None:
            leader = ReviewItem.objects.get(pk=item.leader_id)
            leader.members_count += 1
            leader.severity = max(leader.severity, item.severity)
            leader.save(update_fields=["members_count", "severity"])
        elif item.signature is not None:
            self._leaders = [*(self._leaders or []), item.pk]
            self._signatures = np.vstack([self._signatures, np.frombuffer(item.signature, dtype=np.uint8)])

    def _group(self, item: ReviewItem, text: str) -> None:
        """Looks for the near-duplicate that leads a new item."""
        index = MinHashIndex()
        index.add(text)
        signature = index.signatures[0].astype(np.uint8)  # the lowest byte of each
        if self._leaders is None:
            self._read_leaders(len(signature))
        if self._leaders:
            # Bytes that are equal by chance are taken off (b-bit MinHash; Li and König, 2010).
            similar = ((self._signatures == signature).mean(axis=1) - 1 / 256) / (1 - 1 / 256)
            best = int(similar.argmax())
            if similar[best] >= THRESHOLD:
                item.leader_id = self._leaders[best]
                return
        item.signature = signature.tobytes()

    def _read_leaders(self, length: int) -> None:
        rows = ReviewItem.objects.open(self._project).filter(signature__isnull=False).order_by("-pk")
        leaders: list[tuple[int, Any]] = list(rows.values_list("pk", "signature")[:MAX_LEADERS])
        self._leaders = [pk for pk, _ in leaders]
        signatures = [np.frombuffer(bytes(signature), dtype=np.uint8) for _, signature in leaders]
        self._signatures = np.vstack(signatures) if signatures else np.empty((0, length), dtype=np.uint8)
