"""The contents of the queues, for the workers page. A few round trips, however long the queues are. Read-only."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django_rq
from django.conf import settings
from django.utils import timezone
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.runs.reaper import run_models
from slmstudio.workers.job_names import StudioJob
from slmstudio.workers.live_workers import LiveWorker

#: maximum number of failed jobs shown, the newest ones
MAX_FAILED = 25


@dataclass(frozen=True)
class QueueState:
    """One queue. ``oldest``: seconds that its first job has waited."""

    name: str
    waiting: int
    failed: int
    oldest: float | None
    workers: int


@dataclass(frozen=True)
class FailedJob:
    """A job that ended with an error. ``function`` is its dotted name, ``subject`` the id it was called with."""

    id: str
    queue: str
    function: str
    subject: int | None
    ended: datetime | None
    error: str


def queue_states(workers: Iterable[LiveWorker]) -> list[QueueState]:
    """Every queue of the settings.

    Raises:
        RedisError: the queue does not answer.
    """
    listeners: dict[str, int] = defaultdict(int)
    for worker in workers:
        for name in worker.queues:
            listeners[name] += 1
    queues = [django_rq.get_queue(name) for name in settings.RQ_QUEUES]
    pipeline = queues[0].connection.pipeline(transaction=False)
    for queue in queues:
        pipeline.llen(queue.key)
        pipeline.lindex(queue.key, 0)
        pipeline.zcard(queue.failed_job_registry.key)
    answers = pipeline.execute()
    for first in answers[1::3]:
        pipeline.hget(Job.key_for(first.decode() if first else ""), "enqueued_at")
    since = pipeline.execute()
    return [
        QueueState(
            name=queue.name,
            waiting=answers[3 * at],
            failed=answers[3 * at + 2],
            oldest=_seconds_since(since[at]),
            workers=listeners[queue.name],
        )
        for at, queue in enumerate(queues)
    ]


def _seconds_since(moment: bytes | None) -> float | None:
    if not moment:
        return None
    return max(0.0, (timezone.now() - utcparse(moment.decode())).total_seconds())


def failed_jobs(most: int = MAX_FAILED) -> list[FailedJob]:
    """The newest failed jobs of all queues.

    Raises:
        RedisError: the queue does not answer.
    """
    queues = [django_rq.get_queue(name) for name in settings.RQ_QUEUES]
    pipeline = queues[0].connection.pipeline(transaction=False)
    for queue in queues:
        # Sorted by expiry, which is a fixed time after each failure.
        pipeline.zrevrange(queue.failed_job_registry.key, 0, most - 1)
    ids = [
        (queue.name, job_id.decode())
        for queue, job_ids in zip(queues, pipeline.execute(), strict=True)
        for job_id in job_ids
    ]
    for _, job_id in ids:
        pipeline.hgetall(Job.key_for(job_id))
        pipeline.xrevrange(Result.get_key(job_id), count=1)
    answers = pipeline.execute()
    jobs = [
        read_failed(queue, job_id, answers[2 * at], answers[2 * at + 1])
        for at, (queue, job_id) in enumerate(ids)
        if answers[2 * at]
    ]
    long_ago = datetime.min.replace(tzinfo=timezone.get_current_timezone())
    return sorted(jobs, key=lambda job: job.ended or long_ago, reverse=True)[:most]


def read_failed(queue: str, job_id: str, row: dict[bytes, bytes], results: list[Any]) -> FailedJob:
    """A failed job from its data in Redis."""
    job = StudioJob(job_id, connection=django_rq.get_connection("default"))
    job.restore(row)
    function, subject = "", None
    try:
        function = job.func_name or ""
        subject = job.args[0] if job.args and isinstance(job.args[0], int) else None
    except Exception:  # a job of another version or another application: it is shown anyway
        function = job.description or ""
    error, ended = "", job.ended_at
    if results:
        result_id, payload = results[0]
        result = Result.restore(job_id, result_id.decode(), payload, job.connection, JSONSerializer)
        error = redact_paths(_last_line(result.exc_string or ""))
        ended = ended or result.created_at
    return FailedJob(job_id, queue, function, subject, ended, error)


def _last_line(text: str, most: int = 300) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:most] if lines else ""


def runs_of(jobs: Iterable[str]) -> dict[str, BackgroundRun]:
    """The runs of these jobs, by job id; one query for each kind of run."""
    wanted = [job for job in set(jobs) if len(job) == 36]
    runs: dict[str, BackgroundRun] = {}
    for model in run_models() if wanted else []:
        runs |= {str(run.job_id): run for run in _with_project(model).filter(job_id__in=wanted)}
    return runs


def runs_of_failed(jobs: Iterable[FailedJob]) -> dict[str, BackgroundRun]:
    """The runs of failed jobs, by job id: by their function and argument, as a run may have had other jobs."""
    by_function: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for job in jobs:
        if job.subject is not None:
            by_function[job.function][job.subject].append(job.id)
    runs: dict[str, BackgroundRun] = {}
    for model in run_models():
        subjects = by_function.get(model.job_name) if model.job_name else None
        if subjects:
            for run in _with_project(model).filter(pk__in=subjects):
                runs |= dict.fromkeys(subjects[run.pk], run)
    return runs


PROJECT_PATHS = ("project", "dataset__project", "training_run__project", "model_version__project")


def project_path(model: type[BackgroundRun]) -> str:
    """The lookup from a kind of run to its project: its own column, or through a related object."""
    names = {field.name for field in model._meta.get_fields()}
    return next((way for way in PROJECT_PATHS if way.split("__")[0] in names), "")


def _with_project(model: type[BackgroundRun]) -> Any:
    way = project_path(model)
    return model.objects.select_related(way) if way else model.objects.all()


def project_of(run: BackgroundRun) -> Any:
    """The project of a run; None if it has none."""
    target: Any = run
    for step in filter(None, project_path(type(run)).split("__")):
        target = getattr(target, step, None)
    return None if target is run else target
