"""Counters shared by all processes, in the job queue's server. Callers decide what happens if it does not answer."""

import logging
import time
from functools import lru_cache

import redis
from django.conf import settings

logger = logging.getLogger(__name__)


class CountersUnavailable(Exception):
    """The queue's server does not answer."""


@lru_cache(maxsize=1)
def _connection() -> redis.Redis:
    return redis.Redis(
        connection_pool=redis.ConnectionPool.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)
    )


def count(key: str, seconds: int) -> tuple[int, int]:
    """Adds one to the counter of this window of ``seconds``; returns the count and the seconds until the window ends.

    Raises:
        CountersUnavailable: nothing is counted.
    """
    now = int(time.time())
    window, spent = divmod(now, seconds)
    name = _name(key, window)
    try:
        with _connection().pipeline(transaction=False) as pipe:
            pipe.incr(name)
            pipe.expire(name, 2 * seconds)
            return int(pipe.execute()[0]), seconds - spent
    except (redis.RedisError, OSError) as error:
        logger.warning("the queue's server does not respond, so requests are not counted")
        raise CountersUnavailable from error


def decrement(key: str, seconds: int, *, all_of_them: bool = False) -> None:
    """Subtracts one, or resets the window."""
    name = _name(key, int(time.time()) // seconds)
    try:
        if all_of_them or int(_connection().decr(name)) <= 0:
            _connection().delete(name)
    except (redis.RedisError, OSError):
        logger.warning("the queue's server does not respond, so requests are not counted")


def set_flag(key: str, seconds: int) -> None:
    """Sets a mark for a while."""
    try:
        _connection().set(f"slm:mark:{key}", 1, ex=seconds)
    except (redis.RedisError, OSError):
        logger.warning("the queue's server does not respond, so nothing is remembered")


def has_flag(key: str) -> bool:
    """Whether the mark is set."""
    try:
        return bool(_connection().exists(f"slm:mark:{key}"))
    except (redis.RedisError, OSError):
        return False


def _name(key: str, window: int) -> str:
    return f"slm:{key}:{window}"
