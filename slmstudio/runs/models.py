"""The abstract background run: one state machine for imports, training, evaluation and the pipeline.

A run is a row. The web process creates it (QUEUED) and enqueues a job with only its id; the job claims it with a
conditional UPDATE, so that a job delivered twice does its work once. While it runs it sends heartbeats; the reaper
finds rows without one. Every transition below is one UPDATE guarded by its source state; transitions that only the
run's worker may make are also guarded by the id of its job, because a requeued run belongs to another worker.
"""

import logging
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, ClassVar, Self, TypeVar

import django_rq
from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from redis.exceptions import RedisError

from slmstudio.access import Action
from slmstudio.hooks import run_ended
from slmstudio.logs.json_lines import request_id
from slmstudio.runs.path_redaction import redact_paths

logger = logging.getLogger(__name__)
Run = TypeVar("Run", bound="BackgroundRun", covariant=True)


class Status(models.TextChoices):
    """The state of a run."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ACTIVE = (Status.QUEUED, Status.RUNNING)
ENDED = (Status.DONE, Status.FAILED, Status.CANCELLED)


def requeued_columns() -> dict[str, Any]:
    """The columns of a finished run that is queued again, under a new job."""
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
    """The facts of a run with one more person who queued it again after it ended; all count as having started it."""
    entry = {"who": user.get_username(), "user": user.pk, "when": timezone.now().isoformat(), **more}
    return {**facts, "resumed_by": [*facts.get("resumed_by", []), entry]}


class RunQuerySet(models.QuerySet[Run]):
    """Queries of every kind of run."""

    def live(self) -> Self:
        """Queued or running."""
        return self.filter(status__in=ACTIVE)

    def done(self) -> Self:
        """Finished without an error."""
        return self.filter(status=Status.DONE)

    def lost(self) -> Self:
        """Running according to their row, but without a heartbeat for longer than the limit. By the database's clock,
        which also sets heartbeats: the clocks of the machines may differ.
        """
        limit = Now() - timedelta(seconds=settings.RUN_LOST_AFTER_SECONDS)
        return self.filter(status=Status.RUNNING, heartbeat_at__lt=limit)


class BackgroundRun(models.Model):
    """Status, progress, heartbeat, error and job of a piece of background work."""

    #: dotted name of the job function, called with the row's id; "" for a run that consists of other runs
    job_name: ClassVar[str] = ""
    queue_name: ClassVar[str] = "default"
    #: seconds until the queue ends the job, -1 for never, None for the queue's default
    job_timeout: ClassVar[int | None] = None
    #: maximum number of attempts before a lost run fails
    attempts_allowed: ClassVar[int] = 1
    #: what a member may do who cancels or resumes it
    required_action: ClassVar[Action] = Action.RUN
    #: the columns that ``gpus`` reads
    gpu_columns: ClassVar[tuple[str, ...]] = ()
    #: of a queue for GPUs, the rows whose jobs run there
    gpu_rows: ClassVar[Mapping[str, Any]] = {}

    status = models.CharField(max_length=10, choices=Status.choices, default=Status.QUEUED, db_index=True)
    job_id = models.UUIDField(default=uuid.uuid4, editable=False)
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)
    stage = models.CharField(max_length=120, blank=True, help_text="current step, in words")
    error = models.TextField(blank=True, help_text="why it failed, as a sentence")
    cancel_requested = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = RunQuerySet.as_manager()

    class Meta:
        abstract = True

    # -- queries ----------------------------------------------------------------------------------------------------

    @property
    def is_live(self) -> bool:
        """Queued or running: its pages refresh themselves."""
        return self.status in ACTIVE

    @property
    def attempts_since_restart(self) -> int:
        """How many of its attempts count against ``attempts_allowed``."""
        return 1

    @property
    def gpus(self) -> int:
        """How many GPUs it uses while it runs on a GPU worker."""
        return 1

    @property
    def percent(self) -> int:
        """Progress in whole percent, 0 if the total is unknown."""
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

    def _transition(self, source: tuple[Status, ...], *, owned: bool = False, **changes: Any) -> bool:
        """Changes the row if it is in one of ``source``, with ``owned`` only under this job; True if this call did.

        If the run has ended, what happens then is part of the same transaction.
        """
        guard: dict[str, Any] = {"job_id": self.job_id} if owned else {}
        ends = changes.get("status") in ENDED
        with transaction.atomic() if ends else nullcontext():
            changed = type(self).objects.filter(pk=self.pk, status__in=source, **guard).update(**changes) == 1
            if changed:
                for name, value in changes.items():
                    # The value is computed by the database; this object gets the time of this machine's clock.
                    setattr(self, name, timezone.now() if isinstance(value, Now) else value)
            if changed and ends:
                self.notify_ended()
        return changed

    def notify_ended(self) -> None:
        """Calls the hooks of a run that has ended, in the transaction of its end."""
        run_ended[self._meta.label].call(self)

    def queue(self) -> str:
        """The name of the queue of this run."""
        return self.queue_name

    def enqueue(self, *, first: bool = False) -> None:
        """Queues the job after commit, before all others if ``first`` is set.

        The queue never retries it; the reaper requeues a lost job. If the queue does not answer, the run is not lost:
        its row stays queued, and the reaper enqueues its job.
        """
        name, queue, job_id, pk = self.job_name, self.queue(), str(self.job_id), self.pk
        meta = {"request_id": request_id()}
        timeout = {} if self.job_timeout is None else {"job_timeout": self.job_timeout}

        def put() -> None:
            try:
                django_rq.get_queue(queue).enqueue(
                    name, pk, job_id=job_id, result_ttl=86_400, at_front=first, meta=meta, **timeout
                )
            except RedisError:
                logger.exception("the queue %s does not respond; %s %s waits for the reaper", queue, name, pk)

        transaction.on_commit(put)

    def requeue_by(self, user: User | None) -> None:
        """Queues a finished run again, for ``user``, as if it were new. The caller holds the row's lock."""
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
        """QUEUED -> RUNNING. False: another worker claimed it, or it was cancelled."""
        started: dict[str, Any] = {
            "status": Status.RUNNING,
            "started_at": timezone.now(),
            "heartbeat_at": Now(),
            "stage": "starting",
        }
        return self._transition((Status.QUEUED,), owned=True, **started, **changes)

    def return_to_queue(self, *, first: bool = True, **changes: Any) -> bool:
        """RUNNING -> QUEUED under a new job, called by its worker. False: the run no longer belongs to this worker.

        A run with a requested cancellation is cancelled instead. The call is idempotent: if the database failed before
        it confirmed the change, a second call recognizes it, because the id of the new job is derived from the old one.
        """
        rows = type(self).objects.filter(pk=self.pk)
        owned = rows.filter(status=Status.RUNNING, job_id=self.job_id, cancel_requested=False)
        job_id = uuid.uuid5(self.job_id, "put back")
        fresh: dict[str, Any] = {"status": Status.QUEUED, "job_id": job_id, "heartbeat_at": None, **changes}
        if owned.update(**fresh) == 1 or rows.filter(status=Status.QUEUED, job_id=job_id).exists():
            self.refresh_from_db()
            self.enqueue(first=first)
            return True
        self.cancelled()
        return False

    def send_heartbeat(self, **changes: Any) -> bool:
        """Sends a heartbeat, with any progress. False: stop working (cancelled, or passed to another worker)."""
        if not self._transition((Status.RUNNING,), owned=True, heartbeat_at=Now(), **changes):
            return False
        return not type(self).objects.filter(pk=self.pk, cancel_requested=True).exists()

    def is_owned(self) -> bool:
        """Whether it is still running under this job: not reaped, not ended, not with another worker."""
        rows = type(self).objects.filter(pk=self.pk, status=Status.RUNNING, job_id=self.job_id)
        return bool(rows.exists())

    def record(self, **changes: Any) -> bool:
        """Stores the progress of a run without a process of its own, which sends no heartbeats."""
        return self._transition((Status.RUNNING,), owned=True, **changes)

    def finish(self, **changes: Any) -> bool:
        """RUNNING -> DONE."""
        ended: dict[str, Any] = {"status": Status.DONE, "finished_at": timezone.now(), "stage": ""}
        return self._transition((Status.RUNNING,), owned=True, **ended, **changes)

    def fail(self, error: str, **changes: Any) -> bool:
        """QUEUED or RUNNING -> FAILED, with an error message, from which absolute paths are removed."""
        ended: dict[str, Any] = {"status": Status.FAILED, "finished_at": timezone.now(), "stage": ""}
        return self._transition(ACTIVE, owned=True, error=redact_paths(error), **ended, **changes)

    def cancel(self) -> bool:
        """Cancels a queued run immediately; asks a running one to stop, and its supervisor does the rest."""
        if self._transition((Status.QUEUED,), status=Status.CANCELLED, finished_at=timezone.now(), stage=""):
            return True
        return self._transition((Status.RUNNING,), cancel_requested=True, stage="stopping")

    def cancelled(self, **changes: Any) -> bool:
        """RUNNING -> CANCELLED, called by the supervisor once the work has stopped."""
        ended: dict[str, Any] = {"status": Status.CANCELLED, "finished_at": timezone.now(), "stage": ""}
        return self._transition((Status.RUNNING,), owned=True, **ended, **changes)


class RetryableRun(BackgroundRun):
    """A run with several attempts, counted in its facts: what the earlier ones stored is reused."""

    attempts_allowed = 3
    facts: Any  # the field is each model's own

    class Meta:
        abstract = True

    @property
    def attempts_since_restart(self) -> int:
        """How many attempts it had, without those that were asked to stop."""
        return int(self.facts.get("attempts") or 1) - int(self.facts.get("forgiven") or 0)

    def claim_attempt(self) -> bool:
        """QUEUED -> RUNNING as one more attempt. False: another worker claimed it, or it was cancelled."""
        return self.claim(facts={**self.facts, "attempts": int(self.facts.get("attempts") or 0) + 1})

    def release_attempt(self) -> bool:
        """RUNNING -> QUEUED, because its worker stops; the attempt does not count. False as in ``return_to_queue``."""
        return self.return_to_queue(facts={**self.facts, "forgiven": int(self.facts.get("forgiven") or 0) + 1})
