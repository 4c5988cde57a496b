"""Announces changes of deployments, replicas and tokens to gateways, which otherwise look every two seconds."""

import logging

import django_rq
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
#: the channel that gateways subscribe to
CHANNEL = "slmstudio:serving"


def announce() -> None:
    """Publishes that something changed. Without the queue server gateways notice it a little later."""
    try:
        django_rq.get_connection("default").publish(CHANNEL, "changed")
    except RedisError:
        logger.info("the queue server does not answer; gateways notice the change by themselves")
