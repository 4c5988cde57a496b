"""Idempotency keys: a request that is sent again within a day gets the response of the first one.

Kept by the queue server, so that all gateways know them. Without it requests are answered each time: an answer changes
nothing, it only costs time.
"""

import hashlib
import logging
from dataclasses import dataclass

import orjson
import redis.asyncio
from redis.exceptions import RedisError

from serving.gateway.problems import Problem

logger = logging.getLogger(__name__)
HEADER = "idempotency-key"
MAX_LENGTH = 200
#: seconds that a response is kept, and that a request may take until its key is free again
KEEP_SECONDS = 86_400
PENDING_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this request answers for the first time."""

    name: str
    body_sha256: str


class IdempotencyKeys:
    """Keys by project and token."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)

    async def claim(self, *, owner: str, key: str, body: bytes) -> Claim | bytes | None:
        """A claim for the first request with this key; the stored response for a later one; None without a key, or
        where the queue server does not answer.

        ``owner``: who may use the response again, such as the project with the token.

        Raises:
            Problem: 409 while the first request is being answered, 422 where its body was another one.
        """
        if not key:
            return None
        if len(key) > MAX_LENGTH or not key.isprintable():
            raise Problem(422, "idempotency_key", f"Idempotency-Key: at most {MAX_LENGTH} printable characters.")
        name = f"slm:idempotency:{hashlib.sha256(f'{owner} {key}'.encode()).hexdigest()}"
        claim = Claim(name, hashlib.sha256(body).hexdigest())
        try:
            pending = orjson.dumps({"body": claim.body_sha256})
            if await self._client.set(name, pending, nx=True, ex=PENDING_SECONDS):
                return claim
            stored = await self._client.get(name)
        except (RedisError, OSError):
            logger.info("the queue server does not answer; an idempotency key is ignored")
            return None
        if stored is None:  # it ended with an error in between
            return await self.claim(owner=owner, key=key, body=body)
        found = orjson.loads(stored)
        if found["body"] != claim.body_sha256:
            raise Problem(422, "idempotency_key", "The Idempotency-Key was used for another request.")
        if "response" not in found:
            raise Problem(
                409,
                "in_progress",
                "A request with this Idempotency-Key is being answered.",
                headers={"Retry-After": "1"},
            )
        return str(found["response"]).encode()

    async def store(self, claim: Claim, response: bytes) -> None:
        """Keeps the response of a claim."""
        value = orjson.dumps({"body": claim.body_sha256, "response": response.decode()})
        try:
            await self._client.set(claim.name, value, ex=KEEP_SECONDS)
        except (RedisError, OSError):
            logger.info("the queue server does not answer; the response of an idempotency key is not kept")

    async def release(self, claim: Claim) -> None:
        """Frees the key of a request that ended with an error: it may be sent again."""
        try:
            await self._client.delete(claim.name)
        except (RedisError, OSError):
            logger.info("the queue server does not answer; an idempotency key stays taken for some minutes")

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()
