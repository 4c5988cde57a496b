"""Limits of tokens and projects: requests and tokens per minute, and monthly budgets."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError

from serving.budgets.limits import Limits, used_this_month
from serving.gateway.database import in_database
from serving.gateway.limits.counters import Counters
from serving.gateway.problems import Problem
from slmstudio.text.formatting import format_date

#: invalid tokens of one address. They are too long to be guessed: this limits what they cost
GUESSES_PER_MINUTE = 600
_MINUTE_KEEP = 120
_MONTH_KEEP = 40 * 86_400
Used = Callable[["Subject"], Awaitable[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose use is limited: a token, or a whole project."""

    kind: str
    id: int
    limits: Limits

    def key(self, period: str, unit: str) -> str:
        """The name of a counter."""
        return f"slm:gateway:{self.kind}{self.id}:{period}:{unit}"


def token_subject(token_id: int, limits: Limits) -> Subject:
    """The use of a token."""
    return Subject("token", token_id, limits)


def project_subject(project_id: int, limits: Limits) -> Subject:
    """The use of a project."""
    return Subject("project", project_id, limits)


async def used_of(subject: Subject) -> tuple[int, int]:
    """ExtractionResponse requests and tokens of the month by the database; nothing where it does not answer."""
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

    def count(self, subject: str, limits: Limits | None = None) -> None:
        """Counts a request. ``subject``: whose. Raises Problem 429 above the limit of this minute."""
        now = time.time()
        limit = (limits.requests_per_minute if limits else None) or self._per_minute
        if self.counters.add(_minute_key(subject, now), 1, keep=_MINUTE_KEEP) > limit:
            raise _too_fast(f"More than {limit:,} requests in one minute.", now)

    def check_guesses(self, address: str) -> None:
        """Raises Problem 429 for an address that has sent too many invalid tokens in this minute."""
        now = time.time()
        if self.counters.value(_minute_key(f"guesses:{address}", now)) >= GUESSES_PER_MINUTE:
            raise _too_fast(f"More than {GUESSES_PER_MINUTE:,} invalid tokens in one minute.", now)

    def count_guess(self, address: str) -> None:
        """Counts an invalid token."""
        self.counters.add(_minute_key(f"guesses:{address}", time.time()), 1, keep=_MINUTE_KEEP)

    async def reserve(self, *subjects: Subject) -> Reservation:
        """A request within all budgets. Raises Problem 429: ``budget``, or ``rate_limit`` for tokens per minute."""
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

    async def run(self) -> None:
        """Counts together with the other gateways until it is cancelled."""
        await self.counters.run()

    async def close(self) -> None:
        """Closes the connection."""
        await self.counters.close()


def _minute_key(subject: str, now: float) -> str:
    return f"slm:gateway:{subject}:{int(now // 60)}:requests"


def _too_fast(sentence: str, now: float) -> Problem:
    return Problem(
        429, "rate_limit", f"{sentence} Wait for the next minute.", headers={"Retry-After": str(60 - int(now % 60))}
    )


def _spent(subject: Subject, unit: str, limit: int, now: float) -> Problem:
    today = datetime.fromtimestamp(now, UTC)
    first = (today.replace(day=28) + timedelta(days=4)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return Problem(
        429, "budget",
        f"The budget of this {subject.kind} is spent: {limit:,} {unit} per month. "
        f"It resets on {format_date(first)} (UTC).",
        headers={"Retry-After": str(int((first - today).total_seconds()) + 1)},
        resets_at=first.isoformat(), of=subject.kind, unit=unit, limit=limit,
    )  # fmt: skip
