"""Tokens of callers, cached: the database is asked at the first use, after a change, and every ten seconds."""

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from django.core import signing
from django.db import DatabaseError
from django.utils import timezone

from labeling.integrations import tokens
from serving.budgets.usage import NO_LIMITS, limits_of_token
from serving.gateway.database import in_database
from serving.gateway.problems import GatewayProblem, unavailable
from serving.models import Budget
from slmstudio.access import may

logger = logging.getLogger(__name__)
T = TypeVar("T")
#: seconds that a token is not looked up again; a change that the studio makes is announced at once
FRESH_SECONDS = 10.0
#: seconds that it is still accepted while the database does not answer: longer than the switch to a standby takes
STALE_SECONDS = 120.0
#: seconds between two queries of a database that does not answer
RETRY_SECONDS = 2.0
#: tokens that are known to be valid, and to be invalid
_MAX_CACHED = 10_000
#: passes: signed by the studio for a member who tries the model on its page, for a command, or for a batch
PASS_PREFIX = "slm_pass_"
_PASS_SALT = "serving.gateway.pass"
PASS_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Pass:
    """Requests to one project. ``token_id``: whose use they are; ``is_batch``: live requests go first."""

    slug: str
    token_id: int | None = None
    is_batch: bool = False


def issue_pass(slug: str, *, token_id: int | None = None, is_batch: bool = False) -> str:
    """A pass to a project that the member may use, valid for five minutes."""
    return PASS_PREFIX + signing.TimestampSigner(salt=_PASS_SALT).sign_object([slug, token_id, is_batch])


def verify_pass(text: str) -> Pass | None:
    """A valid pass."""
    try:
        value: Any = signing.TimestampSigner(salt=_PASS_SALT).unsign_object(
            text.removeprefix(PASS_PREFIX), max_age=PASS_SECONDS
        )
    except signing.BadSignature:
        return None
    if not isinstance(value, list) or len(value) != 3:
        return None
    slug, token_id, is_batch = value
    return Pass(str(slug), token_id, bool(is_batch))


@dataclass(frozen=True, slots=True)
class Caller:
    """A valid token: its project, its scopes that the role of its member still allows, and when it expires.

    ``token_id`` is None for a pass.
    """

    token_id: int | None
    slug: str
    scopes: frozenset[str]
    expires_at: datetime | None
    limits: Budget = NO_LIMITS
    #: of a batch: live requests go first
    is_batch: bool = False

    @property
    def subject(self) -> str:
        """Whose requests are counted together: those of a token, or of a project without one."""
        return f"token{self.token_id}" if self.token_id is not None else f"pass:{self.slug}"

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()


@dataclass(slots=True)
class _Known:
    """A valid token that was looked up. Times are of the monotonic clock."""

    caller: Caller
    checked: float
    is_fresh: bool = True

    def is_current(self, now: float) -> bool:
        return self.is_fresh and now - self.checked < FRESH_SECONDS


class TokenCache:
    """Tokens by their hash. Invalid ones are known apart from valid ones, so that guesses do not push these out."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Known] = OrderedDict()
        #: when invalid tokens were looked up
        self._invalid: OrderedDict[str, float] = OrderedDict()
        self._limits_of: dict[int, tuple[Budget, float]] = {}
        #: the database did not answer; until then known tokens are accepted without asking it
        self._ask_again_at = 0.0

    def clear(self) -> None:
        """Looks every token up again at its next use."""
        self._limits_of.clear()
        self._invalid.clear()
        for known in self._known.values():
            known.is_fresh = False

    async def caller(
        self, authorization: str, *, scope: str, also: str = "", before_query: Callable[[], None] = lambda: None
    ) -> Caller:
        """The caller of a request. ``also``: another scope that is enough; ``before_query``: called before the
        database is asked about a token that is not known.

        Raises:
            GatewayProblem: 401 without a valid token, 403 without the scope.
        """
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise GatewayProblem(
                401, "no_token", "Send a token: Authorization: Bearer slm_...", headers={"WWW-Authenticate": "Bearer"}
            )
        caller = await self._lookup(text.strip(), before_query)
        if caller is None or caller.has_expired:
            raise GatewayProblem(
                401, "invalid_token", "The token is invalid, revoked or expired.",
                headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )  # fmt: skip
        if caller.scopes.isdisjoint({scope, also}):
            raise GatewayProblem(403, "scope", f"The token does not have the scope {scope}.")
        return caller

    async def _lookup(self, text: str, before_query: Callable[[], None]) -> Caller | None:
        if text.startswith(PASS_PREFIX):
            return await self._of_pass(text)
        if not text.startswith(tokens.PREFIX) or len(text) > tokens.MAX_LENGTH:
            return None
        key = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        now = time.monotonic()
        known = self._known.get(key)
        if known is not None and known.is_current(now):
            return known.caller
        if now - self._invalid.get(key, -FRESH_SECONDS) < FRESH_SECONDS:
            return None
        acceptable = known is not None and now - known.checked < STALE_SECONDS
        if known is not None and acceptable and now < self._ask_again_at:
            return known.caller
        if known is None:
            before_query()
        try:
            caller = await in_database(lambda: _authenticated(text))
        except DatabaseError:
            self._ask_again_at = time.monotonic() + RETRY_SECONDS
            if known is not None and acceptable:
                logger.warning("the database does not respond; known tokens are accepted as they were")
                return known.caller
            raise unavailable("database", "Tokens cannot be checked at the moment. Try again later.") from None
        if caller is None:
            self._known.pop(key, None)
            _note(self._invalid, key, now)
        else:
            _note(self._known, key, _Known(caller, now))
        return caller

    async def _of_pass(self, text: str) -> Caller | None:
        signed = verify_pass(text)
        if signed is None:
            return None
        limits = NO_LIMITS if signed.token_id is None else await self._limits(signed.token_id)
        return Caller(signed.token_id, signed.slug, frozenset({"extract"}), None, limits, signed.is_batch)

    async def _limits(self, token_id: int) -> Budget:
        """The limits of a token, as they were some seconds ago."""
        known = self._limits_of.get(token_id)
        if known is not None and time.monotonic() - known[1] < FRESH_SECONDS:
            return known[0]
        try:
            limits = await in_database(lambda: limits_of_token(token_id))
        except DatabaseError:
            limits = known[0] if known is not None else NO_LIMITS
        self._limits_of[token_id] = limits, time.monotonic()
        return limits


def _note(cache: OrderedDict[str, T], key: str, value: T) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > _MAX_CACHED:
        cache.popitem(last=False)


def _authenticated(text: str) -> Caller | None:
    token = tokens.authenticate(text)
    if token is None or token.role is None:
        return None
    role = token.role
    allowed = frozenset(scope for scope in token.scopes if may(role, tokens.ACTIONS[scope]))
    return Caller(token.pk, token.project.slug, allowed, token.expires_at, limits_of_token(token.pk))
