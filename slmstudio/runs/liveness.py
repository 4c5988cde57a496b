"""How a run shows that it is alive while its worker cannot reach the database: by a key in the queue's server.

Its heart beats in the database, and would stand still there for as long as that is away. When it is back, whoever
sweeps first would otherwise take a healthy run for lost, before its supervisor has tried again.
"""

import logging
import uuid
from collections.abc import Iterable
from typing import Any

import django_rq
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

logger = logging.getLogger(__name__)

#: by the id of the run's job, so that it is of one attempt
KEY = "slmstudio:alive:{}"
#: seconds for the whole exchange: the supervisor has a child to look after
_SECONDS = 1.0
#: how many limits of a silent heart it is believed for: asking for a connection may take more than one
_LIMITS = 2


def tell_alive(job_id: uuid.UUID) -> None:
    """Says that the run of this job is at work. Where the queue does not answer either, nothing can be said."""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.set(KEY.format(job_id), 1, px=int(_LIMITS * 1000 * settings.RUN_LOST_AFTER_SECONDS))
    except (RedisError, OSError) as error:
        logger.warning("the queue does not answer either (%s), so nobody learns that the run is at work", error)


def told_alive(job_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Those of some jobs whose supervisor was at work a moment ago, without the database.

    Raises:
        RedisError: the queue does not answer.
    """
    asked = list(job_ids)
    if not asked:
        return set()
    connection: Any = django_rq.get_connection("default")  # its stubs cannot say that it answers in a list
    said = connection.mget([KEY.format(job_id) for job_id in asked])
    return {job_id for job_id, word in zip(asked, said, strict=True) if word is not None}
