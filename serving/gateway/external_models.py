"""External models as releases: the model that a team uses today answers through the gateway."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from evaluation.inference.clients.document_client import DocumentClient
from evaluation.inference.clients.openai_options import EndpointConfig
from evaluation.inference.completion import ANSWERED, STATUS_LABELS, Completion, ResponseStatus
from evaluation.inference.prices import cost_of_tokens
from serving.gateway.problems import GatewayProblem, queue_full
from serving.replicas.protocol import ModelOutput
from slmstudio.contract.schema.compiled import CompiledSchema

#: requests for one document: the first and one more, because a caller waits
MAX_ATTEMPTS = 2


@dataclass(frozen=True)
class ExternalRoute:
    """How an external model is called. ``problem``: why it cannot be, as a sentence; prices are per million tokens,
    None where they are unknown."""

    endpoint_id: int
    name: str
    config: EndpointConfig | None
    instruction: str
    schema: CompiledSchema
    problem: str = ""
    price_in: float | None = None
    price_out: float | None = None

    def cost(self, answer: ModelOutput) -> float | None:
        """What an answer cost, in the currency of the contract."""
        if self.price_in is None or self.price_out is None:
            return None
        return cost_of_tokens(answer.prompt_tokens, answer.output_tokens, self.price_in, self.price_out)


@dataclass
class _Connection:
    """A client of an endpoint with its threads, as long as the settings stay."""

    route: ExternalRoute
    client: DocumentClient
    threads: ThreadPoolExecutor
    stop: threading.Event
    outstanding: int = 0

    def end_one(self) -> None:
        """One request has ended."""
        self.outstanding -= 1


#: endpoint, attempts, schema
_Key = tuple[int, int, str]


@dataclass
class ExternalModels:
    """Clients of all endpoints. ``timeout``: seconds of one request, after which no further window is sent either."""

    timeout: float
    _connections: dict[_Key, _Connection] = field(default_factory=dict)
    #: those with former settings that still have requests
    _replaced: list[tuple[_Key, _Connection]] = field(default_factory=list)

    async def answer(
        self, route: ExternalRoute, text: str, *, max_queue: int, attempts: int = MAX_ATTEMPTS
    ) -> ModelOutput:
        """The answer of an external model. ``attempts``: requests that it may take.

        Raises:
            GatewayProblem: 429 where too many requests wait, 503 where the endpoint cannot be called.
        """
        connection = self._connection(route, attempts)
        config = connection.route.config
        assert config is not None
        before = sum(connection.outstanding for key, connection in self._replaced if key == _key(route, attempts))
        if connection.outstanding + before >= config.concurrency + max_queue:
            raise queue_full(f"{max_queue} requests are already waiting.")
        arrived = time.perf_counter()
        completion = await self._read(connection, text)
        elapsed = (time.perf_counter() - arrived) * 1000
        return answer_of(completion, elapsed_ms=elapsed)

    async def _read(self, connection: _Connection, text: str) -> Completion:
        """Reads a document in a thread, which keeps its place until the request that it has sent has ended."""
        cancelled = threading.Event()
        loop = asyncio.get_running_loop()

        def end(_: "Future[Completion]") -> None:
            with contextlib.suppress(RuntimeError):  # the gateway has ended, and its loop is closed
                loop.call_soon_threadsafe(connection.end_one)

        connection.outstanding += 1
        work = partial(connection.client.read, text, seconds=self.timeout, is_cancelled=cancelled.is_set)
        future = connection.threads.submit(work)
        future.add_done_callback(end)
        try:
            return await asyncio.wrap_future(future)
        finally:
            cancelled.set()

    def is_busy(self, route: ExternalRoute) -> bool:
        """Whether one more request would take the last free place, or wait where there is only one."""
        if route.config is None:
            return False
        known = (*self._connections.items(), *self._replaced)
        open_now = sum(connection.outstanding for key, connection in known if key[0] == route.endpoint_id)
        return open_now >= max(1, route.config.concurrency - 1)

    def _connection(self, route: ExternalRoute, attempts: int) -> _Connection:
        key = _key(route, attempts)
        connection = self._connections.get(key)
        if connection is not None and connection.route == route:
            return connection
        if route.config is None:
            raise GatewayProblem(503, "endpoint", f"{route.name} cannot be called: {route.problem}")
        self._close_ended()
        if connection is not None:
            connection.threads.shutdown(wait=False)  # what it has begun ends by itself, with the former settings
            self._replaced.append((key, connection))
        stop = threading.Event()
        config = route.config.with_timeout(self.timeout)
        client = DocumentClient(config, route.schema, route.instruction, stop, max_attempts=attempts)
        threads = ThreadPoolExecutor(route.config.concurrency, thread_name_prefix="external")
        self._connections[key] = _Connection(route, client, threads, stop)
        return self._connections[key]

    def _close_ended(self) -> None:
        """Closes replaced connections whose requests have ended."""
        for _, connection in self._replaced:
            if not connection.outstanding:
                connection.client.close()
        self._replaced = [pair for pair in self._replaced if pair[1].outstanding]

    def close(self) -> None:
        """Closes all connections. Requests in flight end by themselves; no further attempt is made."""
        for connection in (*self._connections.values(), *(connection for _, connection in self._replaced)):
            connection.stop.set()
            connection.threads.shutdown(wait=False)
            connection.client.close()
        self._connections.clear()
        self._replaced.clear()


def _key(route: ExternalRoute, attempts: int) -> _Key:
    """Releases of one endpoint may have different schemas."""
    return route.endpoint_id, attempts, route.schema.hash


def answer_of(completion: Completion, *, elapsed_ms: float) -> ModelOutput:
    """A completion as the answer of a replica; what is no output becomes an error with a code."""
    model_ms = round(completion.seconds * 1000, 2)
    queue_ms = round(max(0.0, elapsed_ms - model_ms), 2)
    prompt_tokens = max(0, completion.tokens - completion.output_tokens)
    if completion.status not in ANSWERED:
        code = "too_long" if completion.status == ResponseStatus.TOO_LONG else "engine"
        label = STATUS_LABELS[completion.status]
        detail = f"{label[:1].upper()}{label[1:]}. {completion.detail}".strip()
        failed = ModelOutput.failed(code, detail, queue_ms=queue_ms, model_ms=model_ms)
        return replace(failed, prompt_tokens=prompt_tokens, output_tokens=completion.output_tokens)
    cut_off = completion.status == ResponseStatus.CUT_OFF
    return replace(
        ModelOutput(completion.text or completion.content, "length" if cut_off else "stop", queue_ms, model_ms),
        prompt_tokens=prompt_tokens,
        output_tokens=completion.output_tokens,
        confidence={path: (low, low) for path, low in completion.confidence.items()},
    )
