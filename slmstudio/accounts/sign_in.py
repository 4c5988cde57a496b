"""Sign-in: rate limits, the number of concurrent password hashes, and the log.

Attempts are counted before a password is hashed, by account and address together, by address, and by account from
addresses that it has not been used from. So guessing is slow, and an attacker from another address does not lock out
the account's owner. Where attempts cannot be counted, no password is checked.
"""

import hashlib
import logging
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import hashers
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from redis.exceptions import RedisError

from slmstudio.accounts import shared_counters
from slmstudio.accounts.shared_counters import CountersUnavailable
from slmstudio.models import SignInEvent
from slmstudio.web.addresses import client_address, is_untrusted_proxy, network_of
from slmstudio.web.views import sign_in_unavailable, too_many_requests

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limit:
    """A limit of failed attempts within a time in seconds."""

    attempts: int
    seconds: int


#: of one account from one address
PAIR_LIMIT = Limit(5, 300)
#: of one address, whatever the account: an office has one address
ADDRESS_LIMIT = Limit(40, 300)
#: of one account from all addresses that it has not been used from
ACCOUNT_LIMIT = Limit(50, 3600)
#: how long an address that an account was used from counts as its own
KNOWN_SECONDS = 30 * 24 * 3600
#: passwords that a process hashes concurrently, and requests that wait for their turn: the other threads stay free
MAX_CONCURRENT_HASHES = 1
MAX_WAITING = 2
#: seconds that one of them waits
WAIT_SECONDS = 5.0
_RETRY_AFTER_SECONDS = 5


class TooManyAttempts(Exception):
    """Sign-in is limited for now. ``seconds``: until the next attempt is allowed."""

    def __init__(self, seconds: int, *, busy: bool = False) -> None:
        super().__init__(f"too many attempts; try again in {seconds} s")
        self.seconds, self.busy = seconds, busy


# -- counting ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Attempt:
    """One attempt and its counters. ``shared``: all clients seem to have this address."""

    name: str
    address: str
    shared: bool = False

    @property
    def counters(self) -> dict[str, Limit]:
        account = hashlib.sha256(unicodedata.normalize("NFKC", self.name).casefold().encode(errors="replace"))
        network = network_of(self.address)
        pair = f"{account.hexdigest()[:32]}:{network}"
        counted = {f"login:pair:{pair}": PAIR_LIMIT}
        if not self.shared:
            counted[f"login:address:{network}"] = ADDRESS_LIMIT
        if self.shared or not shared_counters.has_flag(f"login:known:{pair}"):
            counted[f"login:account:{account.hexdigest()[:32]}"] = ACCOUNT_LIMIT
        return counted

    def begin(self) -> None:
        """Counts the attempt.

        Raises:
            TooManyAttempts: one of the limits is reached.
            CountersUnavailable: attempts cannot be counted.
        """
        for key, limit in self.counters.items():
            number, left = shared_counters.count(key, limit.seconds)
            if number > limit.attempts:
                if number == limit.attempts + 1:
                    log_event(SignInEvent.Kind.LOCKED_OUT, name=self.name, address=self.address)
                raise TooManyAttempts(left)

    def undo(self) -> None:
        """Undoes the count."""
        for key, limit in self.counters.items():
            shared_counters.decrement(key, limit.seconds)

    def succeeded(self) -> None:
        """Undoes the count, resets the failures of this account from this address, and remembers the address."""
        for key, limit in self.counters.items():
            shared_counters.decrement(key, limit.seconds, all_of_them=limit is PAIR_LIMIT)
            if limit is PAIR_LIMIT and not self.shared:
                shared_counters.set_flag(key.replace("login:pair:", "login:known:"), KNOWN_SECONDS)


class Guard:
    """The first authentication backend: it authenticates no one (it has no ``get_user``), and enforces the limits."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        email: str | None = None,
        **more: Any,
    ) -> None:
        """Counts the attempt.

        Raises:
            TooManyAttempts: the limit is reached.
            CountersUnavailable: attempts cannot be counted.
        """
        name = username or email
        if request is None or name is None or password is None:  # a program on the machine itself
            return
        if _hash_limit.is_full:
            raise TooManyAttempts(_RETRY_AFTER_SECONDS, busy=True)
        attempt = _Attempt(name[:150], client_address(request), is_untrusted_proxy(request))
        attempt.begin()
        request.sign_in_attempt = attempt  # type: ignore[attr-defined]


# -- hashing -----------------------------------------------------------------------------------------------------------


class _ConcurrencyLimit:
    """A semaphore with a bounded number of waiters; further callers are rejected."""

    def __init__(self, inside: int, waiting: int) -> None:
        self._turn = threading.BoundedSemaphore(inside)
        self._places = threading.BoundedSemaphore(inside + waiting)

    @property
    def is_full(self) -> bool:
        """Whether the next caller would be rejected. A cheap check that may be outdated immediately."""
        if not self._places.acquire(blocking=False):
            return True
        self._places.release()
        return False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Holds one slot during the block.

        Raises:
            TooManyAttempts: too many wait, or it takes too long.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyAttempts(_RETRY_AFTER_SECONDS, busy=True)
        try:
            if not self._turn.acquire(timeout=WAIT_SECONDS):
                raise TooManyAttempts(_RETRY_AFTER_SECONDS, busy=True)
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()


_hash_limit = _ConcurrencyLimit(MAX_CONCURRENT_HASHES, MAX_WAITING)


class _LimitedHasher:
    """For password hashers: limits the number of concurrent hashes."""

    def encode(self, *arguments: Any, **keywords: Any) -> str:
        with _hash_limit.enter():
            made: str = super().encode(*arguments, **keywords)  # type: ignore[misc]
            return made

    def verify(self, password: str, encoded: str) -> bool:
        with _hash_limit.enter():
            return bool(super().verify(password, encoded))  # type: ignore[misc]


class Argon2(_LimitedHasher, hashers.Argon2PasswordHasher):
    """Argon2 with limited concurrency."""


# -- logging -----------------------------------------------------------------------------------------------------------


_WARNED = (SignInEvent.Kind.FAILED, SignInEvent.Kind.LOCKED_OUT, SignInEvent.Kind.DEACTIVATED)


def log_event(kind: str, *, name: str, address: str, user: User | None = None) -> None:
    """Writes an event to the log on standard error and to the append-only table."""
    level = logging.WARNING if kind in _WARNED else logging.INFO
    shown = "".join(c if c.isprintable() else "?" for c in name[:150])
    logger.log(level, "%s: %r from %s", kind, shown, address or "this machine")
    SignInEvent.objects.create(kind=kind, name=shown, address=address, user_id=None if user is None else user.pk)


def on_signed_in(sender: Any, request: HttpRequest, user: User, **more: Any) -> None:
    """Receiver of a Django signal. With a second factor the password was checked by an earlier request."""
    if not request.META.get("REMOTE_ADDR"):
        return
    attempt = getattr(request, "sign_in_attempt", None)
    if attempt is None:
        attempt = _Attempt(user.get_username(), client_address(request), is_untrusted_proxy(request))
    attempt.succeeded()
    log_event(SignInEvent.Kind.SIGNED_IN, name=user.get_username(), address=attempt.address, user=user)


def on_signed_out(sender: Any, request: HttpRequest, user: User, **more: Any) -> None:
    """Receiver of a Django signal."""
    if user is not None and request.META.get("REMOTE_ADDR"):
        log_event(SignInEvent.Kind.SIGNED_OUT, name=user.get_username(), address=client_address(request), user=user)


def on_failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **more: Any) -> None:
    """Receiver of a Django signal."""
    attempt = getattr(request, "sign_in_attempt", None)
    if attempt is not None:
        log_event(SignInEvent.Kind.FAILED, name=attempt.name, address=attempt.address)


def logger_of(kind: str) -> Callable[..., None]:
    """A receiver of a signal about an account, which logs it as an event of this kind."""

    def receiver(sender: Any, request: HttpRequest, **more: Any) -> None:
        login: Any = more.get("sociallogin") or more.get("socialaccount")
        user = more.get("user") or login.user
        log_event(kind, name=user.get_username(), address=client_address(request), user=user)

    return receiver


class SignInLimits:
    """Middleware: the response to limited clients, on the login page and in the administration."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Passes every request through."""
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """429 with the time to wait; 503 where attempts cannot be counted."""
        uncounted = isinstance(exception, RedisError) and _is_of_allauth(request)
        if uncounted or isinstance(exception, CountersUnavailable):
            return sign_in_unavailable(request, _RETRY_AFTER_SECONDS)
        if not isinstance(exception, TooManyAttempts):
            return None
        minutes = -(-exception.seconds // 60)
        if exception.busy:
            attempt = getattr(request, "sign_in_attempt", None)
            if attempt is not None:  # its password was not checked
                attempt.undo()
            text = "Many users are signing in right now. Wait a few seconds and try again."
            return too_many_requests(request, text, exception.seconds, title="Busy")
        wait = "a minute" if minutes == 1 else f"{minutes} minutes"
        text = f"Too many sign-in attempts. Wait {wait}, then try again."
        return too_many_requests(request, text, exception.seconds)


def _is_of_allauth(request: HttpRequest) -> bool:
    """Whether allauth answers: it counts attempts of second factors and password resets."""
    match = request.resolver_match
    return match is not None and str(getattr(match.func, "__module__", "")).startswith("allauth.")
