"""The contents of the queues, and actions on failed jobs, for the workers page. Every function raises RedisError if
the queue does not answer.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django_rq
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from slmstudio.hooks import run_restarted
from slmstudio.runs.models import BackgroundRun, RetryableRun, Status, requeued_columns, resumed_by
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.runs.reaper import run_models
from slmstudio.workers.job_names import StudioJob
from slmstudio.workers.live_workers import live_workers

#: maximum number of failed jobs shown, the newest ones
MAX_FAILED = 25
MAX_ERROR_LENGTH = 300


def queue_states(listeners: Iterable[str]) -> list[dict[str, Any]]:
    """Every queue of the settings: its name, how many jobs are waiting and failed, the seconds that its oldest job
    waits, and how many workers it has. ``listeners``: the queues of all workers.
    """
    workers = list(listeners)
    queues = [django_rq.get_queue(name) for name in settings.RQ_QUEUES]
    pipeline = queues[0].connection.pipeline(transaction=False)
    for queue in queues:
        pipeline.llen(queue.key)
        pipeline.lindex(queue.key, 0)
        pipeline.zcard(queue.failed_job_registry.key)
    answers = pipeline.execute()
    for first in answers[1::3]:
        pipeline.hget(Job.key_for(first.decode() if first else ""), "enqueued_at")
    return [
        {
            "name": queue.name,
            "waiting": waiting,
            "failed": failed,
            "oldest": max(0.0, (timezone.now() - utcparse(since.decode())).total_seconds()) if since else None,
            "workers": workers.count(queue.name),
        }
        for queue, waiting, failed, since in zip(queues, answers[::3], answers[2::3], pipeline.execute(), strict=True)
    ]


# -- failed jobs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FailedJob:
    """A job that ended with an error. ``function`` is its dotted name, ``subject`` the id it was called with."""

    id: str
    queue: str
    function: str
    subject: int | None
    ended: datetime | None
    error: str


class JobNotFound(Exception):
    """The job is no longer in the failed list: another person requeued or removed it."""


def failed_jobs() -> list[FailedJob]:
    """The newest failed jobs of all queues. A few round trips, however many there are."""
    queues = [django_rq.get_queue(name) for name in settings.RQ_QUEUES]
    connection = queues[0].connection
    pipeline = connection.pipeline(transaction=False)
    for queue in queues:
        # Sorted by expiry, which is a fixed time after each failure.
        pipeline.zrevrange(queue.failed_job_registry.key, 0, MAX_FAILED - 1)
    queue_of = {job_id.decode(): q.name for q, ids in zip(queues, pipeline.execute(), strict=True) for job_id in ids}
    jobs = [job for job in StudioJob.fetch_many(queue_of, connection=connection) if job is not None]
    long_ago = datetime.min.replace(tzinfo=timezone.get_current_timezone())
    newest = sorted(jobs, key=lambda job: job.ended_at or long_ago, reverse=True)[:MAX_FAILED]
    for job in newest:
        pipeline.xrevrange(Result.get_key(job.id), count=1)
    return [_described(queue_of[job.id], job, *row) for job, row in zip(newest, pipeline.execute(), strict=True)]


def failed_job(queue_name: str, job_id: str) -> FailedJob:
    """One failed job. Raises JobNotFound."""
    return _described(queue_name, _failed_job(queue_name, job_id))


def _failed_job(queue_name: str, job_id: str) -> Job:
    queue = django_rq.get_queue(queue_name)
    try:
        job = StudioJob.fetch(job_id, connection=queue.connection)
    except NoSuchJobError:
        raise JobNotFound from None
    if job_id not in queue.failed_job_registry:
        raise JobNotFound
    return job


def _described(queue: str, job: Job, row: tuple[bytes, Any] | None = None) -> FailedJob:
    """``row``: of its newest result, with the error."""
    try:
        function = job.func_name or ""
        subject = job.args[0] if job.args and isinstance(job.args[0], int) else None
    except Exception:  # a job of another version or another application: it is shown anyway
        function, subject = job.description or "", None
    error, ended = "", job.ended_at
    if row is not None:
        result = Result.restore(job.id, row[0].decode(), row[1], job.connection, JSONSerializer)
        lines = [line.strip() for line in (result.exc_string or "").splitlines() if line.strip()]
        error = redact_paths(lines[-1][:MAX_ERROR_LENGTH]) if lines else ""
        ended = ended or result.created_at
    return FailedJob(job.id, queue, function, subject, ended, error)


def requeue_job(job: FailedJob, run: BackgroundRun | None, user: User) -> bool:
    """Requeues a failed job; for a run that failed the run itself, under a new job, with its attempts reset.

    False: the run is running, done or already queued, and the job was only removed.

    Raises:
        Refused: what the run needs is gone; its job stays in the failed list.
        JobNotFound: another person requeued or removed it.
    """
    if run is None:
        try:
            django_rq.get_queue(job.queue).failed_job_registry.requeue(job.id)
        except (NoSuchJobError, InvalidJobOperation, ValueError):
            raise JobNotFound from None
        return True
    is_restarted = run.status == Status.FAILED and run_restarted[run._meta.label].call(run, user)
    discard_job(job)
    if is_restarted:
        return True
    failed = type(run).objects.filter(pk=run.pk, status=Status.FAILED, job_id=run.job_id)
    again = requeued_columns()
    if isinstance(run, RetryableRun):
        again["facts"] = resumed_by(run.facts, user)
    if failed.update(**again) != 1:
        return False
    run.refresh_from_db()
    run.enqueue()
    return True


def discard_job(job: FailedJob) -> None:
    """Removes a failed job from the queue; its run stays as it is. Raises JobNotFound."""
    queue = django_rq.get_queue(job.queue)
    queue.failed_job_registry.remove(_failed_job(job.queue, job.id), delete_job=True)


# -- runs of jobs ------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True)
class QueuePosition:
    """What a queued run waits for. ``ahead``: the queued runs before it and the running ones; ``seconds``: until the
    first of these ends, None where no rate is known.
    """

    ahead: int
    seconds: float | None


def queue_position(run: BackgroundRun) -> QueuePosition:
    """The position of a queued run among the runs of all kinds and projects that share its workers."""
    order, own = django_rq.get_queue(run.queue()).job_ids, str(run.job_id)
    busy = [job for worker in live_workers() if run.queue() in worker.queues for job in worker.job_ids]
    before = order[: order.index(own)] if own in order else order
    others = [other for job, other in runs_of([*before, *busy]).items() if job != own and other.is_live]
    times = [other.seconds_left for other in others if other.seconds_left is not None]
    return QueuePosition(len(others), min(times, default=None))


PROJECT_PATHS = ("project", "dataset__project", "training_run__project", "model_version__project")


def project_path(model: type[BackgroundRun]) -> str:
    """The lookup from a kind of run to its project: its own column, or through a related object."""
    names = {field.name for field in model._meta.get_fields()}
    return next((way for way in PROJECT_PATHS if way.split("__")[0] in names), "")


def live_runs(project: Any) -> int:
    """The number of queued and running runs of a project."""
    paths = ((model, project_path(model)) for model in run_models())
    return sum(model.objects.live().filter(**{path: project}).count() for model, path in paths if path)


def _with_project(model: type[BackgroundRun]) -> Any:
    way = project_path(model)
    return model.objects.select_related(way) if way else model.objects.all()


def project_of(run: BackgroundRun) -> Any:
    """The project of a run; None if it has none."""
    target: Any = run
    for step in filter(None, project_path(type(run)).split("__")):
        target = getattr(target, step, None)
    return None if target is run else target
