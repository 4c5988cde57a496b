"""Budget of tokens and projects: requests and tokens per minute, and monthly budgets.

They are counted in each gateway at once, and added up over all of them twice a second by the queue server.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import redis.asyncio
from django.db import DatabaseError
from redis.exceptions import RedisError

from serving.budgets.usage import resets_on, used_this_month
from serving.gateway.database import in_database
from serving.gateway.problems import GatewayProblem
from serving.models import Budget
from slmstudio.text.formatting import format_date

logger = logging.getLogger(__name__)
SYNC_SECONDS = 0.5
#: seconds that a counter is kept here after its last change
_IDLE_SECONDS = 120.0
#: invalid tokens of one address. They are too long to be guessed: this limits what they cost
GUESSES_PER_MINUTE = 600
_MINUTE_KEEP = 120
_MONTH_KEEP = 40 * 86_400


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


Used = Callable[["Subject"], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose use is limited: a token, or a whole project."""

    kind: str
    id: int
    limits: Budget

    def key(self, period: str, unit: str) -> str:
        """The name of a counter."""
        return f"slm:gateway:{self.kind}{self.id}:{period}:{unit}"


async def used_of(subject: Subject) -> tuple[int, int]:
    """Answered requests and tokens of the month by the database; nothing where it does not answer."""
    try:
        return await in_database(lambda: used_this_month(**{f"{subject.kind}_id": subject.id}))
    except DatabaseError:
        return 0, 0


@dataclass
class Reservation:
    """A request that counts against the budgets of its token and project until it fails."""

    counters: Counters
    requests: list[str] = field(default_factory=list)
    tokens: list[tuple[str, int]] = field(default_factory=list)

    def finish(self, *, answered: bool, tokens: int) -> None:
        """Counts the tokens that were used, and gives the request back where it has no answer."""
        for key in () if answered else self.requests:
            self.counters.add(key, -1, keep=_MONTH_KEEP)
        for key, keep in self.tokens if tokens else ():
            self.counters.add(key, tokens, keep=keep)


class RateLimiter:
    """The limits of one gateway process. ``per_minute``: requests of a token without a budget of its own."""

    def __init__(self, url: str, *, per_minute: int, used: Used = used_of) -> None:
        self._per_minute = per_minute
        self._used = used
        self.counters = Counters(url)

    def count(self, subject: str, limits: Budget | None = None) -> None:
        """Counts a request. ``subject``: whose. Raises GatewayProblem 429 above the limit of this minute."""
        now = time.time()
        limit = (limits.requests_per_minute if limits else None) or self._per_minute
        if self.counters.add(_minute_key(subject, now), 1, keep=_MINUTE_KEEP) > limit:
            raise _too_fast(f"More than {limit:,} requests in one minute.", now)

    def check_guesses(self, address: str) -> None:
        """Raises GatewayProblem 429 for an address that has sent too many invalid tokens in this minute."""
        now = time.time()
        if self.counters.value(_minute_key(f"guesses:{address}", now)) >= GUESSES_PER_MINUTE:
            raise _too_fast(f"More than {GUESSES_PER_MINUTE:,} invalid tokens in one minute.", now)

    def count_guess(self, address: str) -> None:
        """Counts an invalid token."""
        self.counters.add(_minute_key(f"guesses:{address}", time.time()), 1, keep=_MINUTE_KEEP)

    async def reserve(self, *subjects: Subject) -> Reservation:
        """A request within all budgets. Raises GatewayProblem 429: ``budget``, or ``rate_limit`` for tokens per
        minute."""
        now = time.time()
        minute, month = str(int(now // 60)), datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
        limited = [subject for subject in subjects if subject.limits.has_month]
        for subject in limited:
            await self._load_month(subject, month)
        # Nothing is awaited from here on: requests at the same time do not exceed a budget together.
        reservation = Reservation(self.counters)
        for subject in subjects:
            per_minute = subject.limits.tokens_per_minute
            if per_minute is not None:
                key = subject.key(minute, "tokens")
                if self.counters.value(key) >= per_minute:
                    raise _too_fast(f"More than {per_minute:,} tokens in one minute.", now)
                reservation.tokens.append((key, _MINUTE_KEEP))
        for subject in limited:
            limits = (("requests", subject.limits.requests_per_month), ("tokens", subject.limits.tokens_per_month))
            for unit, limit in limits:
                if limit is not None and self.counters.value(subject.key(month, unit)) >= limit:
                    raise _spent(subject, unit, limit, now)
            reservation.requests.append(subject.key(month, "requests"))
            reservation.tokens.append((subject.key(month, "tokens"), _MONTH_KEEP))
        for key in reservation.requests:
            self.counters.add(key, 1, keep=_MONTH_KEEP)
        return reservation

    async def _load_month(self, subject: Subject, month: str) -> None:
        async def requests() -> int:
            return (await self._used(subject))[0]

        async def tokens() -> int:
            return (await self._used(subject))[1]

        await self.counters.load(subject.key(month, "requests"), requests, keep=_MONTH_KEEP)
        await self.counters.load(subject.key(month, "tokens"), tokens, keep=_MONTH_KEEP)


def _minute_key(subject: str, now: float) -> str:
    return f"slm:gateway:{subject}:{int(now // 60)}:requests"


def _too_fast(sentence: str, now: float) -> GatewayProblem:
    return GatewayProblem(
        429, "rate_limit", f"{sentence} Wait for the next minute.", headers={"Retry-After": str(60 - int(now % 60))}
    )


def _spent(subject: Subject, unit: str, limit: int, now: float) -> GatewayProblem:
    today = datetime.fromtimestamp(now, UTC)
    first = datetime.combine(resets_on(today.date()), datetime.min.time(), UTC)
    return GatewayProblem(
        429, "budget",
        f"The budget of this {subject.kind} is spent: {limit:,} {unit} per month. "
        f"It resets on {format_date(first)} (UTC).",
        headers={"Retry-After": str(int((first - today).total_seconds()) + 1)},
        resets_at=first.isoformat(), of=subject.kind, unit=unit, limit=limit,
    )  # fmt: skip
