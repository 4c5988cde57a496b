"""The reaper: ends or requeues runs that are running according to their row and have no heartbeat."""

import logging
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import django_rq
from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError
from rq.job import Job, JobStatus

from slmstudio.database.transactions import UNAVAILABLE
from slmstudio.hooks import run_reaped
from slmstudio.runs.heartbeat import reported_alive
from slmstudio.runs.models import BackgroundRun, Status

logger = logging.getLogger(__name__)

_MISSING_AFTER_SECONDS = 60
_WAITING = {str(s.value) for s in (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED)}
BATCH_SIZE = 1000


def run_models() -> list[type[BackgroundRun]]:
    """Every kind of background run of the installed apps."""
    return [model for model in apps.get_models() if issubclass(model, BackgroundRun)]


class PeriodicReaper:
    """Ends lost runs every ``seconds``, once the database has been available for as long as a heartbeat may be missing.
    After an outage, or after this machine was asleep, workers need that time to send one.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._max_pause = seconds + settings.RUN_LOST_AFTER_SECONDS / 2
        self._clock = clock  # wall-clock time: the monotonic clocks stop while a machine sleeps
        self._available_since = self._last_run = clock()

    def run(self) -> None:
        """Called by the table of periodic tasks."""
        try:
            for run in reap_lost_runs(check_heartbeats=self.may_check()):
                logger.warning("%s %s %s: its worker is gone", run._meta.verbose_name, run.pk, run.get_status_display())
        except UNAVAILABLE:
            self._available_since = self._clock()
            raise

    def may_check(self) -> bool:
        """Whether heartbeats may be checked now; called before every run."""
        now = self._clock()
        if not 0 <= now - self._last_run <= self._max_pause:
            self._available_since = now
        self._last_run = now
        return now - self._available_since >= settings.RUN_LOST_AFTER_SECONDS


def reap_lost_runs(*, check_heartbeats: bool = True) -> list[BackgroundRun]:
    """Ends every lost run: requeues it if allowed, cancels it if that was requested, fails it with an error message
    otherwise. Returns the runs it ended or requeued; their status tells which.

    Queued runs whose job is no longer in the queue (it was unavailable, or lost data) are queued again. Safe to call at
    any time and concurrently: each run is changed by one guarded UPDATE. A run without a process of its own sends no
    heartbeats and is skipped, and so is a run whose supervisor reports through the queue that the database is
    unavailable. Without ``check_heartbeats`` only queued runs are checked.
    """
    requeue_missing_jobs()
    now = timezone.now()
    ended: list[BackgroundRun] = []
    for model in run_models():
        for run in _lost(model) if check_heartbeats else ():
            # Guarded by the state and the heartbeat that were read, so that a new heartbeat wins.
            owned = model.objects.filter(pk=run.pk, status=Status.RUNNING, heartbeat_at=run.heartbeat_at)
            if _changed(run, owned, _resolve_lost_run(run, now)):
                ended.append(run)
                if run.status == Status.QUEUED:
                    run.enqueue(first=True)
                else:
                    _notify(run)
    return ended


def _lost(model: type[BackgroundRun]) -> list[Any]:
    """The runs without a heartbeat, except those that are alive without the database. None if the queue does not
    answer: a run may have reported there, and no worker could claim a run.
    """
    silent = list(model.objects.lost())
    try:
        alive = reported_alive(run.job_id for run in silent)
    except RedisError as error:
        logger.warning(
            "the job queue is not reachable (%s); %d runs without a heartbeat wait for the next pass",
            error,
            len(silent),
        )
        return []
    return [run for run in silent if run.job_id not in alive]


def _resolve_lost_run(run: BackgroundRun, now: datetime) -> dict[str, Any]:
    """The columns of a lost run: cancelled, requeued or failed."""
    if run.cancel_requested:
        return {"status": Status.CANCELLED, "stage": "", "finished_at": now}
    if run.attempts_since_restart < run.attempts_allowed:
        stage = "worker lost; requeued"
        # Under another job: if its old worker comes back, the run no longer belongs to it.
        return {"status": Status.QUEUED, "job_id": uuid.uuid4(), "heartbeat_at": None, "stage": stage}
    times = f"Attempts: {run.attempts_since_restart}. " if run.attempts_since_restart > 1 else ""
    step = getattr(run, "checkpoint_step", 0)
    sentence = (
        f"No heartbeat for {settings.RUN_LOST_AFTER_SECONDS} seconds: the worker or its machine was stopped. "
        f"{times}Progress until then is kept. " + (f"Resume it from step {step}." if step else "Start it again.")
    )
    return {"status": Status.FAILED, "error": sentence, "stage": "", "finished_at": now}


def _changed(run: BackgroundRun, owned: QuerySet[BackgroundRun], columns: dict[str, Any]) -> bool:
    """Whether this call changed the row of a run, if it is still the one that was read."""
    with transaction.atomic():
        if owned.update(**columns) != 1:
            return False
        run.refresh_from_db()
        if not run.is_live:
            run.notify_ended()
    return True


def _notify(run: BackgroundRun) -> None:
    run_reaped[run._meta.label].call(run)


def requeue_missing_jobs() -> list[BackgroundRun]:
    """Requeues runs whose row has been queued for a minute and whose job is missing from the queue; returns them."""
    again: list[BackgroundRun] = []
    old = timezone.now() - timedelta(seconds=_MISSING_AFTER_SECONDS)
    for model in run_models():
        waiting = model.objects.filter(status=Status.QUEUED, created_at__lt=old)
        try:
            forgotten = _missing_jobs(list(waiting.values_list("pk", "job_id")))
        except RedisError:
            return again
        for run in model.objects.filter(pk__in=forgotten):
            owned = model.objects.filter(pk=run.pk, status=Status.QUEUED, job_id=run.job_id)
            run.job_id = uuid.uuid4()
            if owned.update(job_id=run.job_id) == 1:
                run.enqueue()
                again.append(run)
    return again


def _missing_jobs(waiting: list[tuple[Any, uuid.UUID]]) -> list[Any]:
    """Keys of the runs whose job is neither queued nor running. A job that ended without claiming its run is lost."""
    pipeline = django_rq.get_connection("default").pipeline(transaction=False)
    lost: list[Any] = []
    for at in range(0, len(waiting), BATCH_SIZE):
        part = waiting[at : at + BATCH_SIZE]
        for _, job_id in part:
            pipeline.hget(Job.key_for(str(job_id)), "status")
        states = pipeline.execute()
        lost += [pk for (pk, _), state in zip(part, states, strict=True) if (state or b"").decode() not in _WAITING]
    return lost


def requeue_interrupted() -> list[BackgroundRun]:
    """Requeues every running run, to start again; returns those runs.

    Only for a moment when no worker runs anywhere, such as the start of a single-machine installation: every run that
    is running according to its row has then lost its worker. A run with a checkpoint resumes from it. Other results are
    written again by the same run; rows are unique per step or document, so there are no duplicates.
    """
    again: list[BackgroundRun] = []
    for model in run_models():
        for run in model.objects.filter(status=Status.RUNNING, heartbeat_at__isnull=False):
            owned = model.objects.filter(pk=run.pk, status=Status.RUNNING, heartbeat_at=run.heartbeat_at)
            fresh: dict[str, Any] = {"status": Status.QUEUED, "job_id": uuid.uuid4()}
            if not getattr(run, "checkpoint_step", 0):
                fresh["progress_done"] = 0
            if run.cancel_requested:
                fresh = {"status": Status.CANCELLED, "finished_at": timezone.now()}
            if _changed(run, owned, {**fresh, "stage": "", "heartbeat_at": None}):
                if run.status == Status.QUEUED:
                    run.enqueue(first=True)  # later runs in the queue may need it
                    again.append(run)
                else:
                    _notify(run)
    return again
