"""Asks replicas: the one with the fewest open requests, with a circuit breaker each and a bounded queue a release."""

import asyncio
import time
from dataclasses import dataclass, field

import orjson

from serving.gateway.problems import GatewayProblem, queue_full, unavailable
from serving.gateway.replica_client import ReplicaClient, Unavailable
from serving.gateway.routes import ReleaseRoute
from serving.replicas.protocol import ModelOutput

#: consecutive failures that open a breaker, and the longest time that it stays open
FAILURES_TO_OPEN = 3
MAX_OPEN_SECONDS = 30.0
#: retries may be this share of the requests, so that a failing model is not asked twice as often
RETRY_SHARE = 0.1
_BURST = 10.0


@dataclass
class RetryBudget:
    """The retries of a gateway process, of replicas and larger models: a bucket that each request fills a little and
    each retry empties by one."""

    left: float = _BURST

    def request(self) -> None:
        """A request begins."""
        self.left = min(_BURST, self.left + RETRY_SHARE)

    def take(self) -> bool:
        """Whether one more attempt is allowed."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class _ReplicaState:
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
    def problem(self) -> GatewayProblem:
        """What the caller gets where no other replica answers."""
        if self.is_fault:
            return GatewayProblem(502, "engine", "The model failed.")
        return unavailable(NO_REPLICA, "The model does not respond.")


@dataclass
class ReplicaPool:
    """Connections to the replicas of all releases. ``slots``: documents that one replica answers concurrently."""

    secret: str
    slots: int
    timeout: float
    _states: dict[str, _ReplicaState] = field(default_factory=dict)
    retries: RetryBudget = field(default_factory=RetryBudget)

    async def answer(self, release: ReleaseRoute, text: str, *, max_queue: int) -> ModelOutput:
        """The answer of a replica.

        Raises:
            GatewayProblem: 429 where too many requests wait, 503 without a replica, 502 where it responds with
                something else, 504 where it takes too long.
        """
        replicas = [self._state(address) for address in release.addresses]
        if not replicas:
            raise unavailable(NO_REPLICA, "The model is not running.")
        waiting = sum(replica.outstanding for replica in replicas)
        if waiting >= len(replicas) * self.slots + max_queue:
            raise queue_full(f"{max_queue} requests are already waiting.")
        self.retries.request()
        tried: set[str] = set()
        failure = ReplicaUnavailable("no replica is asked now")
        while (replica := self._pick(replicas, tried)) is not None:
            tried.add(replica.address)
            try:
                return await self._ask(replica, text)
            except ReplicaUnavailable as error:
                failure = error
                if not self.retries.take():
                    break
        raise failure.problem

    def has_free_slot(self, release: ReleaseRoute) -> bool:
        """Whether a replica of the release would answer at once, as far as this process knows."""
        replicas = [self._state(address) for address in release.addresses]
        return any(replica.outstanding < self.slots and not replica.is_open for replica in replicas)

    def is_busy(self, release: ReleaseRoute) -> bool:
        """Whether one more request would take the last free slot, or wait where there is only one."""
        places = len(release.addresses) * self.slots
        states = (self._states.get(address) for address in release.addresses)
        taken = sum(state.outstanding for state in states if state is not None)
        return taken >= max(1, places - 1)

    def _pick(self, replicas: list[_ReplicaState], tried: set[str]) -> _ReplicaState | None:
        # A replica that was forgotten while the request waited for another one is closed.
        left = (replica for replica in replicas if replica.address not in tried)
        asked = [replica for replica in left if not replica.is_open and not replica.client.is_closed]
        return min(asked, key=lambda replica: replica.outstanding, default=None)

    async def _ask(self, replica: _ReplicaState, text: str) -> ModelOutput:
        replica.outstanding += 1
        tries = replica.failures >= FAILURES_TO_OPEN
        replica.is_tried = tries or replica.is_tried
        try:
            body = orjson.dumps({"text": text})
            async with asyncio.timeout(self.timeout):
                status, read = await replica.client.ask(body)
            if status != 200:
                raise ReplicaUnavailable(f"status {status}", is_fault=status not in _CLOSED)
            answer = ModelOutput.parse(orjson.loads(read))
        except ReplicaUnavailable:
            replica.failed()
            raise
        except ValueError as error:
            replica.failed()
            raise ReplicaUnavailable(str(error), is_fault=True) from error
        except TimeoutError:
            replica.failed()
            raise GatewayProblem(504, "timeout", f"The model did not respond within {self.timeout:g} s.") from None
        except (Unavailable, OSError) as error:
            replica.failed()
            raise ReplicaUnavailable(str(error)) from error
        finally:
            replica.outstanding -= 1
            if tries:
                replica.is_tried = False
        replica.succeeded()
        return answer

    def _state(self, address: str) -> _ReplicaState:
        state = self._states.get(address)
        if state is None:
            state = self._states[address] = _ReplicaState(address, ReplicaClient(address, self.secret))
        return state

    @property
    def open_addresses(self) -> set[str]:
        """Replicas that are not asked now."""
        return {address for address, replica in self._states.items() if replica.is_open}

    def forget_others(self, addresses: set[str]) -> None:
        """Closes connections to replicas that no route names any more, and forgets their failures: one that has the
        same address later was started again.
        """
        for address in self._states.keys() - addresses:
            self._states[address].succeeded()
            if not self._states[address].outstanding:
                self._states.pop(address).client.close()

    async def close(self) -> None:
        """Closes all connections."""
        for replica in self._states.values():
            replica.client.close()
        self._states.clear()
