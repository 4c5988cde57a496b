"""Warnings about missing workers, for pages and commands."""

from redis.exceptions import RedisError

from slmstudio.workers.live_workers import active_queues


def no_worker_message(queue: str) -> str:
    """A message where no worker serves a queue, or the queue is not reachable; else empty."""
    try:
        if queue in active_queues():
            return ""
    except RedisError:
        return "The job queue is not reachable. Queued jobs wait until it is."
    return f"No worker for the queue {queue}; its jobs wait. Start one with manage.py rqworker {queue}."
