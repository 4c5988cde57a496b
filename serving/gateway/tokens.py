"""Tokens of callers, cached: the database is asked at the first use, after a change, and every half minute."""

import hashlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError
from django.utils import timezone

from labeling.integrations import tokens
from serving.budgets.limits import NO_LIMITS, Limits, limits_of_token
from serving.gateway import passes
from serving.gateway.database import in_database
from serving.gateway.problems import Problem
from slmstudio.access import may

logger = logging.getLogger(__name__)
#: seconds that a token is not looked up again
FRESH_SECONDS = 30.0
#: seconds that it is still accepted while the database does not answer
STALE_SECONDS = 600.0
#: seconds between two questions to a database that does not answer
RETRY_SECONDS = 2.0
_MAX_CACHED = 10_000


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid token: its project, its scopes that the role of its member still allows, and when it expires.

    ``token_id`` is None for a pass.
    """

    token_id: int | None
    slug: str
    scopes: frozenset[str]
    expires_at: datetime | None
    limits: Limits = NO_LIMITS
    #: of a batch: live requests go first
    is_batch: bool = False

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


@dataclass(slots=True)
class _Known:
    """A token that was looked up. Times are of the monotonic clock."""

    caller: Caller | None
    checked: float
    is_fresh: bool = True

    def is_current(self, now: float) -> bool:
        return self.is_fresh and now - self.checked < FRESH_SECONDS


class TokenCache:
    """Tokens by their hash. Invalid ones are cached as None, so that guessing costs the database nothing."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._limits_of: dict[int, tuple[Limits, float]] = {}
        #: the database did not answer; until then known tokens are accepted without asking it
        self._ask_again_at = 0.0

    def clear(self) -> None:
        """Looks every token up again at its next use."""
        self._limits_of.clear()
        self._known = OrderedDict((key, known) for key, known in self._known.items() if known.caller)
        for known in self._known.values():
            known.is_fresh = False

    async def caller(self, authorization: str, *, scope: str, also: str = "") -> Caller:
        """The caller of a request. ``also``: another scope that is enough.

        Raises:
            Problem: 401 without a valid token, 403 without the scope.
        """
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise Problem(
                401, "no_token", "Send a token: Authorization: Bearer slm_...", headers={"WWW-Authenticate": "Bearer"}
            )
        caller = await self._lookup(text.strip())
        if caller is None or caller.has_expired:
            raise Problem(
                401, "invalid_token", "The token is invalid, revoked or expired.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )  # fmt: skip
        if caller.scopes.isdisjoint({scope, also}):
            raise Problem(403, "scope", f"The token lacks the scope {scope} ({tokens.SCOPES[scope]}).")
        return caller

    async def _lookup(self, text: str) -> Caller | None:
        if text.startswith(passes.PREFIX):
            return await self._of_pass(text)
        key = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and known.is_current(now):
            return known.caller
        acceptable = known is not None and known.caller is not None and now - known.checked < STALE_SECONDS
        if known is not None and acceptable and now < self._ask_again_at:
            return known.caller
        try:
            caller = await in_database(lambda: _authenticated(text))
        except DatabaseError:
            self._ask_again_at = time.monotonic() + RETRY_SECONDS
            if known is not None and acceptable:
                logger.warning("the database does not answer; known tokens are accepted as they were")
                return known.caller
            raise Problem(
                503, "database", "Tokens cannot be checked at the moment.", headers={"Retry-After": "5"}
            ) from None
        self._known[key] = _Known(caller, now)
        self._known.move_to_end(key)
        while len(self._known) > _MAX_CACHED:
            self._known.popitem(last=False)
        return caller

    async def _of_pass(self, text: str) -> Caller | None:
        found = passes.verify(text)
        if found is None:
            return None
        limits = NO_LIMITS if found.token_id is None else await self._limits(found.token_id)
        return Caller(found.token_id, found.slug, frozenset({"extract"}), None, limits, found.is_batch)

    async def _limits(self, token_id: int) -> Limits:
        """The limits of a token, as they were in the last half minute."""
        known = self._limits_of.get(token_id)
        if known is not None and time.monotonic() - known[1] < FRESH_SECONDS:
            return known[0]
        try:
            limits = await in_database(lambda: limits_of_token(token_id))
        except DatabaseError:
            limits = known[0] if known is not None else NO_LIMITS
        self._limits_of[token_id] = limits, time.monotonic()
        return limits


def _authenticated(text: str) -> Caller | None:
    token = tokens.authenticate(text)
    if token is None or token.role is None:
        return None
    role = token.role
    allowed = frozenset(scope for scope in token.scopes if may(role, tokens.ACTIONS[scope]))
    return Caller(token.pk, token.project.slug, allowed, token.expires_at, limits_of_token(token.pk))
