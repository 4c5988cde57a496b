"""Idempotency keys: a request that is sent again within a day gets the response of the first one.

The queue server knows which request had a key, so that all gateways know it; the response itself is in the request log,
where it is erased with the request. Without the queue server requests are answered each time: an answer changes
nothing, it only costs time.
"""

import hashlib
import logging
import uuid
from dataclasses import dataclass
from datetime import timedelta

import orjson
import redis.asyncio
from django.db import DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from serving.gateway.problems import GatewayProblem, unavailable
from serving.gateway.request_log.writer import RequestLogWriter
from serving.models import RequestLog

logger = logging.getLogger(__name__)
HEADER = "idempotency-key"
MAX_LENGTH = 200
#: characters of a response that is kept
MAX_RESPONSE = 1_000_000
#: keys of a project in a day; the queue server has them in memory
MAX_KEYS = 500_000
#: seconds that a key is kept, and that a request may take until its key is free again
KEEP_SECONDS = 86_400
PENDING_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this request answers for the first time."""

    name: str
    body_sha256: str


@dataclass(frozen=True, slots=True)
class Known:
    """The request that had a key before."""

    request_id: str


class IdempotencyKeys:
    """Keys by project and token."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)

    async def claim(self, *, project: str, owner: str, key: str, body_sha256: str) -> Claim | Known | None:
        """A claim for the first request with this key; for a later one which request that was; None where the queue
        server does not answer.

        ``owner``: who may use the response again, such as the project with the token.

        Raises:
            GatewayProblem: 409 while the first request is being answered, 422 where its body was another one, 429 above
                the number of keys of a day.
        """
        if len(key) > MAX_LENGTH or not key.isprintable():
            raise GatewayProblem(
                422, "idempotency_key", f"Idempotency-Key can have at most {MAX_LENGTH} printable characters."
            )
        claim = Claim(f"slm:request-of-key:{hashlib.sha256(f'{owner} {key}'.encode()).hexdigest()}", body_sha256)
        try:
            pending = orjson.dumps({"body": body_sha256})
            if await self._client.set(claim.name, pending, nx=True, ex=PENDING_SECONDS):
                await self._count(project, claim)
                return claim
            stored = await self._client.get(claim.name)
        except (RedisError, OSError):
            logger.info("the queue server does not respond; an idempotency key is ignored")
            return None
        if stored is None:  # it ended with an error in between
            return await self.claim(project=project, owner=owner, key=key, body_sha256=body_sha256)
        state = orjson.loads(stored)
        if state["body"] != body_sha256:
            raise GatewayProblem(
                422, "idempotency_key", "The Idempotency-Key was already used for a different request. Use a new key."
            )
        if "request" not in state:
            raise GatewayProblem(
                409,
                "in_progress",
                "A request with this Idempotency-Key is in progress. Try again later.",
                headers={"Retry-After": "1"},
            )
        return Known(str(state["request"]))

    async def _count(self, project: str, claim: Claim) -> None:
        name = f"slm:keys-of-day:{project}:{timezone.now().date()}"
        if (number := int(await self._client.incr(name))) == 1:
            await self._client.expire(name, KEEP_SECONDS)
        elif number > MAX_KEYS:
            await self._client.delete(claim.name)
            raise GatewayProblem(
                429, "idempotency_keys", f"A project can use {MAX_KEYS:,} keys a day. Send the request without one.",
                headers={"Retry-After": "3600"},
            )  # fmt: skip

    async def store(self, claim: Claim, request_id: str) -> None:
        """Notes which request a claim was for."""
        value = orjson.dumps({"body": claim.body_sha256, "request": request_id})
        try:
            await self._client.set(claim.name, value, ex=KEEP_SECONDS)
        except (RedisError, OSError):
            logger.info("the queue server does not respond; an idempotency key is not kept")

    async def release(self, claim: Claim) -> None:
        """Frees the key of a request that ended with an error: it may be sent again."""
        try:
            await self._client.delete(claim.name)
        except (RedisError, OSError):
            logger.info("the queue server does not respond; an idempotency key stays taken for some minutes")

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()


async def response_of(known: Known, project_id: int, log: RequestLogWriter) -> bytes:
    """The response of a request that had the same key, by the log.

    Raises:
        GatewayProblem: 410 where it was erased or is too long to be kept, 503 where it is not stored yet.
    """
    since = timezone.now() - timedelta(seconds=2 * KEEP_SECONDS)
    rows = RequestLog.objects.filter(id=uuid.UUID(known.request_id), project_id=project_id, day__gte=since.date())
    try:
        response = await log.stored(lambda: rows.values_list("response", flat=True).first())
    except DatabaseError:
        response = None
    if response is None:
        raise unavailable(
            "database", "The response for this Idempotency-Key cannot be read at the moment. Try again later."
        )
    if not response:
        raise GatewayProblem(
            410, "erased", "The request with this Idempotency-Key was answered; its response is no longer stored."
        )
    return str(response).encode()
