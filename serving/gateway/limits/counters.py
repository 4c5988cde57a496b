"""Counters over all gateways: counted here at once, and added up twice a second by the queue server."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import redis.asyncio
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)
SYNC_SECONDS = 0.5
#: seconds that a counter is kept here after its last change
_IDLE_SECONDS = 120.0


@dataclass(slots=True)
class _Counter:
    """``total`` of all gateways as far as it is known, with what is not sent yet."""

    keep: int
    total: int = 0
    unsent: int = 0
    changed: float = 0.0


class Counters:
    """Numbers by key. Without the queue server each gateway process counts for itself."""

    def __init__(self, url: str) -> None:
        self._client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0)
        self._counters: dict[str, _Counter] = {}
        self._loading = asyncio.Lock()

    def value(self, key: str) -> int:
        """The number of a key."""
        counter = self._counters.get(key)
        return counter.total if counter is not None else 0

    def add(self, key: str, number: int, *, keep: int) -> int:
        """Adds to a key, which is kept for so many seconds; returns its new number."""
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = _Counter(keep)
        counter.total += number
        counter.unsent += number
        counter.changed = time.monotonic()
        return counter.total

    async def load(self, key: str, first: Callable[[], Awaitable[int]], *, keep: int) -> None:
        """Reads a key that this process does not know. ``first``: its number where the queue server has none."""
        if key in self._counters:
            return
        async with self._loading:
            if key in self._counters:
                return
            try:
                stored = await self._client.get(key)
                if stored is None:
                    await self._client.set(key, await first(), nx=True, ex=keep)
                    stored = await self._client.get(key)
                total = int(stored or 0)
            except (RedisError, OSError):
                total = await first()
            self._counters[key] = _Counter(keep, total, changed=time.monotonic())

    async def run(self) -> None:
        """Adds up the numbers of all gateways until it is cancelled."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            await self.sync()

    async def sync(self) -> None:
        """Sends what was counted, and reads the totals."""
        now = time.monotonic()
        for key in [
            key
            for key, counter in self._counters.items()
            if not counter.unsent and now - counter.changed > _IDLE_SECONDS
        ]:
            del self._counters[key]
        # Also those without a change of this process: others may have counted.
        sent = {key: counter.unsent for key, counter in self._counters.items()}
        if not sent:
            return
        for counter in self._counters.values():
            counter.unsent = 0
        try:
            totals = await self._exchange(sent)
        except (RedisError, OSError):
            logger.info("the queue server does not respond; each gateway counts for itself")
            for key, number in sent.items():
                if key in self._counters:
                    self._counters[key].unsent += number
            return
        for key, total in totals.items():
            if key in self._counters:
                # What came in while the others were asked is in ``unsent``.
                self._counters[key].total = total + self._counters[key].unsent

    async def _exchange(self, sent: dict[str, int]) -> dict[str, int]:
        async with self._client.pipeline(transaction=False) as pipe:
            for key, number in sent.items():
                pipe.incrby(key, number)
                pipe.expire(key, self._counters[key].keep)
            totals = dict(zip(sent, map(int, (await pipe.execute())[::2]), strict=True))
        # A key that the server has lost, as by a restart: this process still knows it.
        lost = {
            key: self._counters[key].total - self._counters[key].unsent - total
            for key, total in totals.items()
            if total == sent[key] and self._counters[key].total - self._counters[key].unsent > total
        }
        for key, number in lost.items():
            totals[key] = int(await self._client.incrby(key, number))
        return totals

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()
