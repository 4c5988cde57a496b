"""Announces changes of deployments, replicas and tokens to gateways, which otherwise look every two seconds."""

import logging

import redis
from django.conf import settings
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
#: the channel that gateways subscribe to
CHANNEL = "slmstudio:serving"
_SECONDS = 1.0


def announce() -> None:
    """Publishes that something changed. Without the queue server gateways notice it a little later."""
    try:
        # A server that hangs must not stop the heartbeats of replicas.
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS
        ) as client:
            client.publish(CHANNEL, "changed")
    except (RedisError, OSError):
        logger.info("the queue server does not respond; gateways notice the change by themselves")
