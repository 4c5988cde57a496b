"""Ends runs whose worker has gone: running by their row, but with a heart that stopped."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django_rq
from django.apps import apps
from django.conf import settings
from django.utils import timezone
from redis.exceptions import RedisError
from rq.job import JobStatus

from slmstudio.runs import BackgroundRun, Status

_FORGOTTEN_AFTER_SECONDS = 60
_WAITING = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED)
_always: list[Callable[[], object]] = []
_after: dict[str, list[Callable[[Any], object]]] = {}


def when_swept(model: str, do: Callable[[Any], object]) -> None:
    """Registers what else is to be done with a swept run of ``model`` (``"app.Model"``), called with the run itself."""
    calls = _after.setdefault(model.lower(), [])
    if do not in calls:
        calls.append(do)


def after_each_sweep(do: Callable[[], object]) -> None:
    """Registers what is to be looked at after every sweep, such as runs that consist of other runs."""
    if do not in _always:
        _always.append(do)


def run_models() -> list[type[BackgroundRun]]:
    """Every kind of background run of the installed apps."""
    return [model for model in apps.get_models() if issubclass(model, BackgroundRun)]


def sweep_lost() -> list[BackgroundRun]:
    """Fails every lost run with a sentence, or cancels it where that was asked for; returns the runs it ended.

    Queued runs whose job is no longer in the queue (it did not answer, or forgot) are queued again. Safe to call at any
    time and by several at once: each run is moved by one guarded UPDATE. A run that has no process of its own has no
    heart and is left alone.
    """
    requeue_forgotten()
    now = timezone.now()
    limit = settings.RUN_LOST_AFTER_SECONDS
    sentence = (
        f"Its worker has not answered for more than {limit} seconds: it was stopped, or the machine was. "
        "What it had reported until then is kept. Start it again."
    )
    ended: list[BackgroundRun] = []
    for model in run_models():
        for run in model.objects.lost(now):
            if run.cancel_requested:
                changes: dict[str, Any] = {"status": Status.CANCELLED}
            else:
                changes = {"status": Status.FAILED, "error": sentence}
            # Guarded by the state and the heartbeat that was seen, so that a heart that beats again wins.
            mine = model.objects.filter(pk=run.pk, status=Status.RUNNING, heartbeat_at=run.heartbeat_at)
            if mine.update(**changes, stage="", finished_at=now) == 1:
                run.refresh_from_db()
                ended.append(run)
                _tell(run)
    for look in _always:
        look()
    return ended


def _tell(run: BackgroundRun) -> None:
    for do in _after.get(run._meta.label_lower, []):
        do(run)


def requeue_forgotten() -> list[BackgroundRun]:
    """Queues again what has been queued for a minute by its row and is not in the queue; returns those runs."""
    again: list[BackgroundRun] = []
    for model in run_models():
        old = timezone.now() - timedelta(seconds=_FORGOTTEN_AFTER_SECONDS)
        for run in model.objects.filter(status=Status.QUEUED, created_at__lt=old):
            try:
                if _in_queue(run):
                    continue
            except RedisError:
                return again
            waiting = model.objects.filter(pk=run.pk, status=Status.QUEUED, job_id=run.job_id)
            run.job_id = uuid.uuid4()
            if waiting.update(job_id=run.job_id) == 1:
                run.enqueue()
                again.append(run)
    return again


def _in_queue(run: BackgroundRun) -> bool:
    """Whether the run's job waits or is at work; a job that ended without claiming its run is as good as lost."""
    queue = django_rq.get_queue(run.queue_name)
    job = queue.fetch_job(str(run.job_id))
    return job is not None and job.get_status() in _WAITING


def requeue_interrupted() -> list[BackgroundRun]:
    """Puts every run that was at work back into its queue, to start again; returns those runs.

    Only for a moment when no worker runs anywhere, such as the start of a machine that is all there is: a run that says
    it is running has then lost its worker. What a run had written is written again by the same run; rows are unique per
    step or document, so nothing is there twice.
    """
    again: list[BackgroundRun] = []
    for model in run_models():
        for run in model.objects.filter(status=Status.RUNNING, heartbeat_at__isnull=False):
            mine = model.objects.filter(pk=run.pk, status=Status.RUNNING, heartbeat_at=run.heartbeat_at)
            fresh: dict[str, Any] = {"status": Status.QUEUED, "job_id": uuid.uuid4(), "progress_done": 0}
            if run.cancel_requested:
                fresh = {"status": Status.CANCELLED, "finished_at": timezone.now()}
            if mine.update(**fresh, stage="", heartbeat_at=None) == 1:
                run.refresh_from_db()
                if run.status == Status.QUEUED:
                    run.enqueue(first=True)  # what waits behind it may need it
                    again.append(run)
                else:
                    _tell(run)
    return again
