"""The abstract background run: the one state machine that imports, training, evaluation and the loop share.

A run is a row. The web process creates it (QUEUED) and enqueues a job that carries only its id; the job claims it by a
conditional UPDATE, so that a job delivered twice does its work once. While it runs it beats; a sweep finds rows whose
heart stopped. Every transition below is one UPDATE guarded by the state it starts from; what only the worker of a run
may do is guarded by the id of its job too, because a run that was queued again belongs to another.
"""

import logging
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Self

import django_rq
from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from redis.exceptions import RedisError

from slmstudio.runs.plain_paths import redact_paths

logger = logging.getLogger(__name__)


class Status(models.TextChoices):
    """Where a run stands."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


LIVE = (Status.QUEUED, Status.RUNNING)


def requeued_columns() -> dict[str, Any]:
    """The columns of a run that has ended and waits again, under a new job."""
    return {
        "status": Status.QUEUED,
        "job_id": uuid.uuid4(),
        "error": "",
        "stage": "",
        "cancel_requested": False,
        "heartbeat_at": None,
        "finished_at": None,
    }


def resumed_by(facts: Mapping[str, Any], user: User, **more: Any) -> dict[str, Any]:
    """The facts of a run with one more person who queued it again after it had ended; they count as who started it."""
    one = {"who": user.get_username(), "user": user.pk, "when": timezone.now().isoformat(), **more}
    return {**facts, "resumed_by": [*facts.get("resumed_by", []), one]}


class RunQuerySet(models.QuerySet["BackgroundRun"]):
    """Named reads every kind of run has."""

    def live(self) -> Self:
        """Queued or running."""
        return self.filter(status__in=LIVE)

    def done(self) -> Self:
        """Ended well."""
        return self.filter(status=Status.DONE)

    def lost(self) -> Self:
        """Running by their row, but without a heartbeat for longer than the limit. By the database's clock, as hearts
        beat: those of the machines may differ.
        """
        limit = Now() - timedelta(seconds=settings.RUN_LOST_AFTER_SECONDS)
        return self.filter(status=Status.RUNNING, heartbeat_at__lt=limit)


class BackgroundRun(models.Model):
    """Status, progress, heartbeat, error and job of a piece of background work."""

    #: dotted name of the job function, called with the row's id; "" for a run that consists of other runs
    job_name: ClassVar[str] = ""
    #: dotted names that the job had in earlier releases; a job that was queued under one still runs
    former_job_names: ClassVar[tuple[str, ...]] = ()
    queue_name: ClassVar[str] = "default"
    #: seconds after which the queue ends the job, -1 for never, None for what the queue says
    job_timeout: ClassVar[int | None] = None
    #: how often workers may take it up before a lost one is a failure
    attempts_allowed: ClassVar[int] = 1

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED, db_index=True)
    job_id = models.UUIDField(default=uuid.uuid4, editable=False)
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)
    stage = models.CharField(max_length=120, blank=True, help_text="what it is doing now, in words")
    error = models.TextField(blank=True, help_text="why it failed, as a sentence")
    cancel_requested = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = RunQuerySet.as_manager()

    class Meta:
        abstract = True

    # -- reads ------------------------------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Queued or running: pages of it refresh themselves."""
        return self.status in LIVE

    @property
    def tries(self) -> int:
        """How many of its attempts count against ``attempts_allowed``."""
        return 1

    @property
    def gpus(self) -> int:
        """How many GPUs it has while it runs, where it runs on a GPU worker."""
        return 1

    @property
    def percent(self) -> int:
        """Progress in whole per cent, 0 where the total is not known."""
        if self.status == Status.DONE:
            return 100
        return min(100, self.progress_done * 100 // self.progress_total) if self.progress_total else 0

    @property
    def seconds(self) -> float | None:
        """Seconds it has been running, or took."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()

    @property
    def rate(self) -> float | None:
        """Units of progress per second so far."""
        return self.progress_done / self.seconds if self.seconds and self.progress_done else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the rate so far."""
        if self.status != Status.RUNNING or not self.rate or not self.progress_total:
            return None
        return max(0, self.progress_total - self.progress_done) / self.rate

    # -- transitions ------------------------------------------------------------------------------------------------

    def _move(self, source: tuple[Status, ...], *, mine: bool = False, **changes: Any) -> bool:
        """Changes the row if it is in one of ``source``, with ``mine`` only under this job; True if this caller did."""
        guard: dict[str, Any] = {"job_id": self.job_id} if mine else {}
        changed = type(self).objects.filter(pk=self.pk, status__in=source, **guard).update(**changes) == 1
        if changed:
            for name, value in changes.items():
                # What the database counts is known here by this machine's clock alone.
                setattr(self, name, timezone.now() if isinstance(value, Now) else value)
        return changed

    def queue(self) -> str:
        """The name of the queue that this run waits in."""
        return self.queue_name

    def enqueue(self, *, first: bool = False) -> None:
        """Queues the job after commit, before all others where ``first`` is set.

        The queue never retries it; a job that got lost is queued again by the sweep. A queue that does not answer is no
        reason to lose the run: its row waits, and the sweep brings it to the queue.
        """
        name, queue, job_id, pk = self.job_name, self.queue(), str(self.job_id), self.pk
        timeout = {} if self.job_timeout is None else {"job_timeout": self.job_timeout}

        def put() -> None:
            try:
                django_rq.get_queue(queue).enqueue(
                    name, pk, job_id=job_id, result_ttl=86_400, at_front=first, **timeout
                )
            except RedisError:
                logger.exception("the queue %s does not answer; %s %s waits for the sweep", queue, name, pk)

        transaction.on_commit(put)

    def requeue_by(self, user: User | None) -> None:
        """Queues a run that has ended once more, for ``user``, as if it were new. The caller holds the row's lock."""
        again: dict[str, Any] = {
            **requeued_columns(),
            "progress_done": 0,
            "progress_total": 0,
            "created_by": user,
            "created_at": timezone.now(),
            "started_at": None,
        }
        for name, value in again.items():
            setattr(self, name, value)
        self.save(update_fields=list(again))
        self.enqueue()

    def claim(self, **changes: Any) -> bool:
        """QUEUED -> RUNNING. False: somebody else has it, or it was cancelled."""
        started: dict[str, Any] = {
            "status": Status.RUNNING,
            "started_at": timezone.now(),
            "heartbeat_at": Now(),
            "stage": "starting",
        }
        return self._move((Status.QUEUED,), mine=True, **started, **changes)

    def return_to_queue(self, *, first: bool = True, **changes: Any) -> bool:
        """RUNNING -> QUEUED under a new job, by its worker: to be taken up again. False: it is no longer ours.

        One that was to be cancelled is cancelled instead. Done again after the database went away it gives the same: a
        change whose answer was lost is known again, because the id of the new job follows from that of the old one.
        """
        rows = type(self).objects.filter(pk=self.pk)
        mine = rows.filter(status=Status.RUNNING, job_id=self.job_id, cancel_requested=False)
        job_id = uuid.uuid5(self.job_id, "put back")
        fresh: dict[str, Any] = {"status": Status.QUEUED, "job_id": job_id, "heartbeat_at": None, **changes}
        if mine.update(**fresh) == 1 or rows.filter(status=Status.QUEUED, job_id=job_id).exists():
            self.refresh_from_db()
            self.enqueue(first=first)
            return True
        self.cancelled()
        return False

    def beat(self, **changes: Any) -> bool:
        """Shows that it is alive, with any progress. False: stop working (cancelled, or no longer ours)."""
        if not self._move((Status.RUNNING,), mine=True, heartbeat_at=Now(), **changes):
            return False
        return not type(self).objects.filter(pk=self.pk, cancel_requested=True).exists()

    def is_owned(self) -> bool:
        """Whether it is still at work under this job: not swept, not ended, not with another worker."""
        rows = type(self).objects.filter(pk=self.pk, status=Status.RUNNING, job_id=self.job_id)
        return bool(rows.exists())

    def record(self, **changes: Any) -> bool:
        """Notes progress of a run that has no process of its own and so no heart to beat."""
        return self._move((Status.RUNNING,), mine=True, **changes)

    def finish(self, **changes: Any) -> bool:
        """RUNNING -> DONE."""
        ended: dict[str, Any] = {"status": Status.DONE, "finished_at": timezone.now(), "stage": ""}
        return self._move((Status.RUNNING,), mine=True, **ended, **changes)

    def fail(self, error: str, **changes: Any) -> bool:
        """QUEUED or RUNNING -> FAILED, with a sentence, in which no absolute path is left."""
        ended: dict[str, Any] = {"status": Status.FAILED, "finished_at": timezone.now(), "stage": ""}
        return self._move(LIVE, mine=True, error=redact_paths(error), **ended, **changes)

    def cancel(self) -> bool:
        """A queued run is cancelled at once; a running one is asked to stop, and its supervisor does the rest."""
        if self._move((Status.QUEUED,), status=Status.CANCELLED, finished_at=timezone.now(), stage=""):
            return True
        return self._move((Status.RUNNING,), cancel_requested=True, stage="stopping")

    def cancelled(self, **changes: Any) -> bool:
        """RUNNING -> CANCELLED, called by the supervisor once the work has stopped."""
        ended: dict[str, Any] = {"status": Status.CANCELLED, "finished_at": timezone.now(), "stage": ""}
        return self._move((Status.RUNNING,), mine=True, **ended, **changes)


class RetryableRun(BackgroundRun):
    """A run that workers take up several times, counted in its facts: what the earlier ones stored is of use."""

    attempts_allowed = 3
    facts: Any  # the field is each model's own

    class Meta:
        abstract = True

    @property
    def tries(self) -> int:
        """How often a worker took it up, without those that were told to stop."""
        return int(self.facts.get("attempts") or 1) - int(self.facts.get("forgiven") or 0)

    def claim_attempt(self) -> bool:
        """QUEUED -> RUNNING as one more attempt. False: somebody else has it, or it was cancelled."""
        return self.claim(facts={**self.facts, "attempts": int(self.facts.get("attempts") or 0) + 1})

    def release_attempt(self) -> bool:
        """RUNNING -> QUEUED, because its worker stops; no attempt has failed. False as in ``return_to_queue``."""
        return self.return_to_queue(facts={**self.facts, "forgiven": int(self.facts.get("forgiven") or 0) + 1})
