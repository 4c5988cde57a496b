"""Asks replicas: the one with the fewest open requests, with a circuit breaker each and a bounded queue a release."""

import asyncio
import time
from dataclasses import dataclass, field

import orjson

from serving.gateway.connections.client import ReplicaClient, Unavailable
from serving.gateway.fallback.retries import RetryBudget
from serving.gateway.problems import Problem
from serving.gateway.routes import ReleaseRoute
from serving.replicas.protocol import Answer

#: consecutive failures that open a breaker, and the longest time that it stays open
FAILURES_TO_OPEN = 3
MAX_OPEN_SECONDS = 30.0


@dataclass
class _Backend:
    """One replica as this gateway sees it."""

    address: str
    client: ReplicaClient
    outstanding: int = 0
    failures: int = 0
    opened_until: float = 0.0
    #: the one request that tries again after the breaker's time is open
    is_tried: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the breaker keeps requests away; after its time one request tries again."""
        return time.monotonic() < self.opened_until or self.is_tried

    def failed(self) -> None:
        if time.monotonic() < self.opened_until:
            return  # it was on its way when the breaker opened
        self.failures += 1
        if self.failures >= FAILURES_TO_OPEN:
            pause = min(2.0 ** (self.failures - FAILURES_TO_OPEN), MAX_OPEN_SECONDS)
            self.opened_until = time.monotonic() + pause

    def succeeded(self) -> None:
        self.failures, self.opened_until = 0, 0.0


#: the code of a request for which no replica answers
NO_REPLICA = "no_replica"
#: statuses of a replica that is there and takes no documents: another secret, draining
_CLOSED = (401, 503)


class ReplicaUnavailable(Exception):
    """A replica did not answer; the request may be tried on another one.

    ``is_fault``: it did respond, but not with an answer. That is a failure of what it runs, and not of its host.
    """

    def __init__(self, why: str, *, is_fault: bool = False) -> None:
        super().__init__(why)
        self.is_fault = is_fault

    @property
    def problem(self) -> Problem:
        """What the caller gets where no other replica answers."""
        if self.is_fault:
            return Problem(502, "engine", "The model failed.")
        return Problem(503, NO_REPLICA, "The model does not respond.", headers={"Retry-After": "5"})


@dataclass
class ReplicaPool:
    """Connections to the replicas of all releases. ``slots``: documents that one replica answers concurrently."""

    secret: str
    slots: int
    timeout: float
    _backends: dict[str, _Backend] = field(default_factory=dict)
    retries: RetryBudget = field(default_factory=RetryBudget)

    async def answer(self, release: ReleaseRoute, text: str, *, max_queue: int) -> Answer:
        """The answer of a replica.

        Raises:
            Problem: 429 where too many requests wait, 503 without a replica, 502 where it responds with something else,
                504 where it takes too long.
        """
        backends = [self._backend(address) for address in release.addresses]
        if not backends:
            raise Problem(503, NO_REPLICA, "The model is not running.", headers={"Retry-After": "5"})
        waiting = sum(backend.outstanding for backend in backends)
        if waiting >= len(backends) * self.slots + max_queue:
            raise Problem(
                429,
                "queue_full",
                f"{max_queue} requests are already waiting. Try again later.",
                headers={"Retry-After": "1"},
            )
        self.retries.request()
        tried: set[str] = set()
        failure = ReplicaUnavailable("no replica is asked now")
        while (backend := self._pick(backends, tried)) is not None:
            tried.add(backend.address)
            try:
                return await self._ask(backend, text)
            except ReplicaUnavailable as error:
                failure = error
                if not self.retries.take():
                    break
        raise failure.problem

    def has_free_slot(self, release: ReleaseRoute) -> bool:
        """Whether a replica of the release would answer at once, as far as this process knows."""
        backends = [self._backend(address) for address in release.addresses]
        return any(one.outstanding < self.slots and not one.is_open for one in backends)

    def is_busy(self, release: ReleaseRoute) -> bool:
        """Whether one more request would take the last free slot, or wait where there is only one."""
        places = len(release.addresses) * self.slots
        taken = sum(one.outstanding for address in release.addresses if (one := self._backends.get(address)))
        return taken >= max(1, places - 1)

    def _pick(self, backends: list[_Backend], tried: set[str]) -> _Backend | None:
        # A backend that was forgotten while the request waited for another one is closed.
        left = [one for one in backends if one.address not in tried and not one.is_open and not one.client.is_closed]
        return min(left, key=lambda backend: backend.outstanding, default=None)

    async def _ask(self, backend: _Backend, text: str) -> Answer:
        backend.outstanding += 1
        tries = backend.failures >= FAILURES_TO_OPEN
        backend.is_tried = tries or backend.is_tried
        try:
            body = orjson.dumps({"text": text})
            async with asyncio.timeout(self.timeout):
                status, read = await backend.client.ask(body)
            if status != 200:
                raise ReplicaUnavailable(f"status {status}", is_fault=status not in _CLOSED)
            answer = Answer.of(orjson.loads(read))
        except ReplicaUnavailable:
            backend.failed()
            raise
        except ValueError as error:
            backend.failed()
            raise ReplicaUnavailable(str(error), is_fault=True) from error
        except TimeoutError:
            backend.failed()
            raise Problem(504, "timeout", f"The model did not respond within {self.timeout:g} s.") from None
        except (Unavailable, OSError) as error:
            backend.failed()
            raise ReplicaUnavailable(str(error)) from error
        finally:
            backend.outstanding -= 1
            if tries:
                backend.is_tried = False
        backend.succeeded()
        return answer

    def _backend(self, address: str) -> _Backend:
        found = self._backends.get(address)
        if found is None:
            found = self._backends[address] = _Backend(address, ReplicaClient(address, self.secret))
        return found

    @property
    def open_addresses(self) -> set[str]:
        """Replicas that are not asked now."""
        return {address for address, backend in self._backends.items() if backend.is_open}

    def forget_others(self, addresses: set[str]) -> None:
        """Closes connections to replicas that no route names any more, and forgets their failures: one that has the
        same address later was started again.
        """
        for address in [one for one in self._backends if one not in addresses]:
            self._backends[address].succeeded()
            if not self._backends[address].outstanding:
                self._backends.pop(address).client.close()

    async def close(self) -> None:
        """Closes all connections."""
        for backend in self._backends.values():
            backend.client.close()
        self._backends.clear()
