"""Counters that all processes share, on the queue's server. Where it does not answer, nobody is held up."""

import logging
import time
from functools import lru_cache

import redis
from django.conf import settings

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _connection() -> redis.Redis:
    return redis.Redis(
        connection_pool=redis.ConnectionPool.from_url(
            settings.REDIS_URL, socket_timeout=0.2, socket_connect_timeout=0.2
        )
    )


def count(key: str, seconds: int) -> tuple[int, int]:
    """Counts one more in this window of ``seconds``: how many there are now, and the seconds until it ends.

    0 where the server does not answer.
    """
    now = int(time.time())
    window, spent = divmod(now, seconds)
    name = _name(key, window)
    try:
        with _connection().pipeline(transaction=False) as pipe:
            pipe.incr(name)
            pipe.expire(name, 2 * seconds)
            return int(pipe.execute()[0]), seconds - spent
    except (redis.RedisError, OSError):
        logger.warning("the queue's server does not answer, so requests are not counted")
        return 0, 0


def decrement(key: str, seconds: int, *, all_of_them: bool = False) -> None:
    """Takes one back, or the whole window."""
    name = _name(key, int(time.time()) // seconds)
    try:
        if all_of_them or int(_connection().decr(name)) <= 0:
            _connection().delete(name)
    except (redis.RedisError, OSError):
        logger.warning("the queue's server does not answer, so requests are not counted")


def set_flag(key: str, seconds: int) -> None:
    """Keeps a mark for a while."""
    try:
        _connection().set(f"slm:mark:{key}", 1, ex=seconds)
    except (redis.RedisError, OSError):
        logger.warning("the queue's server does not answer, so nothing is remembered")


def has_flag(key: str) -> bool:
    """Whether there is such a mark."""
    try:
        return bool(_connection().exists(f"slm:mark:{key}"))
    except (redis.RedisError, OSError):
        return False


def _name(key: str, window: int) -> str:
    return f"slm:{key}:{window}"
