"""Ends runs whose worker has gone: running by their row, but with a heart that stopped."""

import uuid
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.utils import timezone

from slmstudio.runs import BackgroundRun, Status

_after: dict[str, list[Callable[[Any], object]]] = {}


def when_swept(model: str, do: Callable[[Any], object]) -> None:
    """Registers what else is to be done with a swept run of ``model`` (``"app.Model"``), called with the run itself."""
    calls = _after.setdefault(model.lower(), [])
    if do not in calls:
        calls.append(do)


def run_models() -> list[type[BackgroundRun]]:
    """Every kind of background run of the installed apps."""
    return [model for model in apps.get_models() if issubclass(model, BackgroundRun)]


def sweep_lost() -> list[BackgroundRun]:
    """Fails every lost run with a sentence, or cancels it where that was asked for; returns the runs it ended.

    Safe to call at any time and by several at once: each run is ended by one guarded UPDATE. A run that has no process
    of its own has no heart, and queued runs wait in the queue: both are left alone.
    """
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
                for do in _after.get(model._meta.label_lower, []):
                    do(run)
    return ended


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
                    run.enqueue()
                    again.append(run)
    return again
