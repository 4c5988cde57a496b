"""Requests per minute of each token: counted here, and twice a second together with the other gateways."""

import asyncio
import logging
import time
from collections import defaultdict

import redis.asyncio
from redis.exceptions import RedisError

from serving.gateway.problems import Problem

logger = logging.getLogger(__name__)
SYNC_SECONDS = 0.5
_KEY = "slm:gateway:{}:{}"


class RateLimiter:
    """Counts of the current minute. Without the queue server each gateway process counts for itself."""

    def __init__(self, url: str, *, per_minute: int) -> None:
        self._per_minute = per_minute
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)
        self._minute = 0
        self._unsent: defaultdict[int, int] = defaultdict(int)
        self._total: defaultdict[int, int] = defaultdict(int)

    def count(self, token: int | None) -> None:
        """Counts a request. Raises Problem 429 above the limit."""
        token = token or 0
        now = time.time()
        if int(now // 60) != self._minute:
            self._minute = int(now // 60)
            self._unsent.clear()
            self._total.clear()
        self._unsent[token] += 1
        self._total[token] += 1
        if self._total[token] > self._per_minute:
            raise Problem(
                429, "rate_limit", f"More than {self._per_minute:,} requests in one minute. Wait for the next minute.",
                headers={"Retry-After": str(60 - int(now % 60))},
            )  # fmt: skip

    async def run(self) -> None:
        """Adds the counts of all gateways until it is cancelled."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            if self._unsent:
                await self._sync()

    async def _sync(self) -> None:
        minute, sent = self._minute, dict(self._unsent)
        self._unsent.clear()
        try:
            async with self._client.pipeline(transaction=False) as pipe:
                for token, number in sent.items():
                    key = _KEY.format(token, minute)
                    pipe.incrby(key, number)
                    pipe.expire(key, 120)
                totals = (await pipe.execute())[::2]
        except (RedisError, OSError):
            logger.info("the queue server does not answer; requests are counted by each gateway")
            return
        if minute == self._minute:
            for token, total in zip(sent, totals, strict=True):
                # What came in while the others were asked is in ``_unsent``.
                self._total[token] = int(total) + self._unsent[token]

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()
