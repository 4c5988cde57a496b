"""Warnings about missing workers, for pages and commands."""

from django.utils.translation import ngettext
from redis.exceptions import RedisError

from slmstudio.workers.live_workers import active_queues

#: how a worker of a queue is started, where its name does not say it
_COMMANDS = {"default": "manage.py rqworker default webhooks --with-scheduler"}


def no_worker_message(queue: str) -> str:
    """A message where no worker serves a queue, or the queue is not reachable; else empty."""
    try:
        if queue in active_queues():
            return ""
    except RedisError:
        return "The job queue is not reachable. Queued jobs wait until it is."
    return missing_worker(queue)


def missing_worker(queue: str, waiting: int | None = None) -> str:
    """The message about a queue without a worker. ``waiting``: the number of its jobs, where it is known."""
    jobs = "its jobs wait"
    if waiting is not None:
        jobs = ngettext("{n:,} job waits", "{n:,} jobs wait", waiting).format(n=waiting)
    command = _COMMANDS.get(queue, f"manage.py rqworker {queue}")
    return f"No worker for the queue {queue}; {jobs}. Start one with {command}."
