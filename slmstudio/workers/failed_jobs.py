"""Actions on a failed job: requeue it, or remove it."""

from typing import Any

import django_rq
from django.contrib.auth.models import User
from rq.exceptions import NoSuchJobError
from rq.job import Job

from slmstudio.hooks import run_restarted
from slmstudio.runs.models import BackgroundRun, RetryableRun, Status, requeued_columns, resumed_by
from slmstudio.workers.queues import FailedJob, read_failed


class JobNotFound(Exception):
    """The job is no longer in the failed list: another person requeued or removed it."""


def failed_job(queue_name: str, job_id: str) -> FailedJob:
    """One failed job.

    Raises:
        JobNotFound: it is not in the failed list of that queue.
        RedisError: the queue does not answer.
    """
    queue = django_rq.get_queue(queue_name)
    row: Any = queue.connection.hgetall(Job.key_for(job_id))
    if not row or job_id not in queue.failed_job_registry:
        raise JobNotFound
    return read_failed(queue_name, job_id, row, [])


def requeue_job(job: FailedJob, run: BackgroundRun | None, user: User) -> bool:
    """Requeues a failed job; for a run that failed the run itself, under a new job, with its attempts reset.

    False: the run is running, done or already queued, and the job was only removed.

    Raises:
        Refused: what the run needs is gone; its job stays in the failed list.
        JobNotFound: another person requeued or removed it.
        RedisError: the queue does not answer.
    """
    if run is None:
        try:
            django_rq.get_queue(job.queue).failed_job_registry.requeue(job.id)
        except (NoSuchJobError, ValueError):
            raise JobNotFound from None
        return True
    if run.status == Status.FAILED and run_restarted[run._meta.label].call(run, user):
        discard_job(job)
        return True
    discard_job(job)
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
    """Removes a failed job from the queue; its run stays as it is.

    Raises:
        JobNotFound: another person requeued or removed it.
        RedisError: the queue does not answer.
    """
    queue = django_rq.get_queue(job.queue)
    queued = queue.fetch_job(job.id)
    if queued is None or job.id not in queue.failed_job_registry:
        raise JobNotFound
    queue.failed_job_registry.remove(queued, delete_job=True)
