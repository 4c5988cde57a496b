"""Quotas of a project and of a person: bytes stored, GPU worker hours, projects owned.

Apps register the files of a project and the bytes it stores elsewhere; hours are summed over the runs of the queue
``gpu``. A check returns a sentence that names the quota, or "" if it is not exceeded; services reject with it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import caches
from django.db.models import Model, Q
from django.utils import timezone

from slmstudio.hooks import project_bytes, project_files
from slmstudio.storage.artifacts import store

if TYPE_CHECKING:
    from slmstudio.runs.models import BackgroundRun

DAYS = 30
_GB = 10**9
#: seconds for which the size of a project's files is cached
_CACHE_SECONDS = 60


@dataclass(frozen=True)
class Usage:
    """A project's usage of a quota, in its unit; ``limit`` 0 is none. ``setting`` is the name of its setting."""

    title: str
    used: float
    limit: float
    unit: str
    setting: str

    @property
    def is_full(self) -> bool:
        """Whether the quota is used up."""
        return bool(self.limit) and self.used >= self.limit


def storage(project: Model) -> Usage:
    """Gigabytes that a project stores: files and the texts of documents. Cached for a minute."""
    key = f"slmstudio.quotas.storage.{project.pk}"
    size = caches["process"].get(key)
    if size is None:
        root = store()
        size = sum(_size(root.path(key)) for keys in project_files.call(project) for key in set(keys) if key)
        size += sum(project_bytes.call(project))
        caches["process"].set(key, size, _CACHE_SECONDS)
    return Usage("Stored", size / _GB, settings.PROJECT_STORAGE_GB, "GB", "PROJECT_STORAGE_GB")


def compute(project: Model) -> Usage:
    """Hours that a project's runs of the queue ``gpu`` took in the last 30 days, times the number of their GPUs."""
    now = timezone.now()
    since = now - timedelta(days=DAYS)
    seconds = sum(
        max(0.0, ((run.finished_at or now) - max(run.started_at or now, since)).total_seconds()) * run.gpus
        for run in _recent(project, since)
    )
    title = f"GPU hours, last {DAYS} days"
    return Usage(title, seconds / 3600, settings.PROJECT_GPU_HOURS, "hours", "PROJECT_GPU_HOURS")


def _recent(project: Model, since: datetime) -> Iterable["BackgroundRun"]:
    from slmstudio.runs.models import Status
    from slmstudio.runs.reaper import run_models
    from slmstudio.workers.queues import project_path

    at_work = Q(status=Status.RUNNING) | Q(finished_at__gt=since)
    for model in run_models():
        if model.queue_name == "gpu" and (path := project_path(model)):
            rows = model.objects.filter(at_work, started_at__isnull=False, **{path: project}, **model.gpu_rows)
            yield from rows.only("started_at", "finished_at", *model.gpu_columns)


def storage_problem(project: Model) -> str:
    """Why a project may store no more, as a sentence; "" if it may."""
    if not settings.PROJECT_STORAGE_GB:
        return ""
    usage = storage(project)
    if not usage.is_full:
        return ""
    return (
        f"This project uses {usage.used:,.1f} GB of its {usage.limit:,.0f} GB of storage. Delete what you no longer "
        "need, or ask an administrator for more."
    )


def compute_problem(project: Model) -> str:
    """Why a project may start no more runs on GPU workers, as a sentence; "" if it may."""
    if not settings.PROJECT_GPU_HOURS:
        return ""
    usage = compute(project)
    if not usage.is_full:
        return ""
    return (
        f"This project used {usage.used:,.1f} of its {usage.limit:,.0f} GPU hours in the last {DAYS} days. Wait until "
        "older runs no longer count, or ask an administrator for more."
    )


def projects_problem(owned: int) -> str:
    """Why a person who owns this many projects may create no more, as a sentence; "" if they may."""
    limit = settings.PROJECTS_PER_PERSON
    if not limit or owned < limit:
        return ""
    return f"You own {owned} projects, and the maximum is {limit}. Ask an administrator for more."


def _size(path: str) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it does not exist."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue  # removed in the meantime
    return total
