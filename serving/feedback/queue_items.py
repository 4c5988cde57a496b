"""The items of the review queue: one for each text, near-duplicates under one."""

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from labeling.datasets.near_duplicates import THRESHOLD, MinHashIndex
from labeling.models import Project
from serving.feedback import selection
from serving.feedback.redaction import redact
from serving.models import RequestLog, SamplePlan
from serving.models.review import Draw, Reason, ReviewItem

#: newest leaders that a new text is compared with
MAX_LEADERS = 3_000
Status = ReviewItem.Status


class DrawnRequest(Protocol):
    """A drawn request: reason -> probability, and the predictor of whether its output is right."""

    id: uuid.UUID
    day: Any
    created_at: Any
    release_id: int
    reasons: dict[str, float]
    predictor: float | None


def text_key(text: str) -> str:
    """The key of a text in the queue."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def add_draws(project: Project, plan: SamplePlan, drawn: Sequence[DrawnRequest]) -> int:
    """Stores drawn requests and puts them in the queue; returns how many are new. Requests without a stored text are
    left out. Call it in a transaction that holds the plan.
    """
    if not drawn:
        return 0
    known = Draw.objects.in_bulk([one.id for one in drawn], field_name="request_id")
    fresh = [one for one in drawn if one.id not in known]
    for one in drawn:
        if one.id in known:
            _add_reasons(known[one.id], one)
    rows = RequestLog.objects.filter(id__in=[one.id for one in fresh], day__in={one.day for one in fresh})
    texts = dict(rows.exclude(text="").values_list("id", "text"))
    queue = _Queue(project, plan)
    added = 0
    for one in fresh:
        if one.id in texts:
            queue.add(one, texts[one.id])
            added += 1
    return added


def _add_reasons(row: Draw, found: DrawnRequest) -> None:
    """A reason that was found after the request had been drawn."""
    more = {reason: p for reason, p in found.reasons.items() if reason not in row.probabilities}
    if not more:
        return
    row.probabilities |= more
    row.save(update_fields=["probabilities"])
    item = row.item
    if item is not None:
        _note_reasons(item, more, found.predictor)
        if item.status == Status.DISMISSED:
            item.status, item.decided_by, item.decided_at = Status.OPEN, None, None
        item.save()


def _note_reasons(item: ReviewItem, reasons: Iterable[str], predictor: float | None) -> None:
    item.reasons = selection.ordered([*item.reasons, *reasons])
    item.reason = item.reasons[0]
    item.severity = max(item.severity, selection.severity(reasons, predictor))


class _Queue:
    """The queue of a project while requests are added."""

    def __init__(self, project: Project, plan: SamplePlan) -> None:
        self._project, self._kinds = project, plan.redact
        self._leaders: list[int] | None = None
        self._signatures = np.empty((0, 0), dtype=np.uint8)

    def add(self, found: DrawnRequest, text: str) -> None:
        key = text_key(redact(text, self._kinds))
        item = ReviewItem.objects.filter(project=self._project, text_sha256=key).first()
        if item is None:
            item = self._new(found, key, text)
        else:
            self._again(item, found)
        Draw.objects.create(
            project=self._project, item=item, request_id=found.id, day=found.day, created_at=found.created_at,
            release_id=found.release_id, probabilities=found.reasons, predictor=found.predictor,
            uniform_probability=found.reasons.get(Reason.UNIFORM),
        )  # fmt: skip

    def _new(self, found: DrawnRequest, key: str, text: str) -> ReviewItem:
        item = ReviewItem(
            project=self._project, text_sha256=key, request_id=found.id, day=found.day,
            release_id=found.release_id, draws_count=1,
        )  # fmt: skip
        _note_reasons(item, found.reasons, found.predictor)
        if selection.INDEPENDENT.isdisjoint(found.reasons):
            self._group(item, text)
        item.save()
        if item.leader_id is not None:
            leader = ReviewItem.objects.get(pk=item.leader_id)
            leader.members_count += 1
            leader.severity = max(leader.severity, item.severity)
            leader.save(update_fields=["members_count", "severity"])
        elif item.signature is not None:
            self._leaders = [*(self._leaders or []), item.pk]
            self._signatures = np.vstack([self._signatures, np.frombuffer(item.signature, dtype=np.uint8)])
        return item

    def _again(self, item: ReviewItem, found: DrawnRequest) -> None:
        """A text that is in the queue, or was. A new request of the uniform sample needs a judgment of its own."""
        item.draws_count += 1
        _note_reasons(item, found.reasons, found.predictor)
        if not selection.INDEPENDENT.isdisjoint(found.reasons):
            item.leader = None
            if item.status in (Status.DISMISSED, Status.RIGHT):
                item.status, item.decided_by, item.decided_at = Status.OPEN, None, None
        if item.status == Status.OPEN:
            item.request_id, item.day, item.release_id = found.id, found.day, found.release_id
        item.judged_by = None  # the gold label of its document, if any, judges this request, too
        item.save()

    def _group(self, item: ReviewItem, text: str) -> None:
        """Finds the near-duplicate that leads a new item."""
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
        found: list[tuple[int, Any]] = list(rows.values_list("pk", "signature")[:MAX_LEADERS])
        self._leaders = [pk for pk, _ in found]
        signatures = [np.frombuffer(bytes(signature), dtype=np.uint8) for _, signature in found]
        self._signatures = np.vstack(signatures) if signatures else np.empty((0, length), dtype=np.uint8)
