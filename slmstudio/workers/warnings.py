"""Warnings about missing workers, for pages and commands."""

from django.utils.translation import ngettext
from redis.exceptions import RedisError

from slmstudio.workers.live_workers import active_queues

#: how a worker of a queue is started, where its name does not say it
_COMMANDS = {"default": "manage.py rqworker default webhooks --with-scheduler"}


def no_worker_message(queue: str, *, for_administrator: bool = False) -> str:
    """A message where no worker serves a queue, or the queue is not reachable; else empty.

    ``for_administrator``: with the command that starts a worker.
    """
    try:
        if queue in active_queues():
            return ""
    except RedisError:
        return "The job queue is not reachable. Queued jobs start when it is."
    if for_administrator:
        return missing_worker(queue)
    kind = "GPU worker" if queue == "gpu" else "worker for these jobs"
    return f"No {kind} is running, so jobs stay queued. Ask an administrator to start one."


def missing_worker(queue: str, waiting: int | None = None) -> str:
    """The message about a queue without a worker, for administrators. ``waiting``: the number of its jobs if known."""
    jobs = "its jobs stay queued"
    if waiting is not None:
        jobs = ngettext("{n:,} job is queued", "{n:,} jobs are queued", waiting).format(n=waiting)
    command = _COMMANDS.get(queue, f"manage.py rqworker {queue}")
    return f"No worker for the queue {queue}; {jobs}. Start one with {command}."
