"""What the requests of one gateway process share."""

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from django.conf import settings
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from serving.gateway import idempotency
from serving.gateway.capture.upstream import Upstream
from serving.gateway.external_models import ExternalModels
from serving.gateway.files import FileReader
from serving.gateway.idempotency import IdempotencyKeys
from serving.gateway.intake.bodies import BodyReader, unless_disconnected
from serving.gateway.limits import RateLimiter, Reservation, Subject
from serving.gateway.metrics import Metrics
from serving.gateway.problems import GatewayProblem, queue_full
from serving.gateway.replica_pool import ReplicaPool
from serving.gateway.request_log.process import log_folder
from serving.gateway.request_log.writer import RequestLogWriter
from serving.gateway.responder import ExtractionRequest, ExtractionResponse, Responder
from serving.gateway.routes import Route, RouteTable
from serving.gateway.tokens import Caller, TokenCache
from serving.gateway.tracing.timeline import tracer_of_environment
from serving.replicas.addresses import secret
from slmstudio.web.addresses import network_of

SCOPE = "extract"
#: requests of a project that a process answers at the same time
MAX_OPEN = 1_000
_OPEN = "gateway.open"


@dataclass
class Gateway:
    """Routes, tokens, limits, connections and the log."""

    tokens: TokenCache
    table: RouteTable
    limits: RateLimiter
    pool: ReplicaPool
    log: RequestLogWriter
    responder: Responder
    keys: IdempotencyKeys
    metrics: Metrics
    files: FileReader
    bodies: BodyReader = field(default_factory=BodyReader)
    upstream: Upstream = field(default_factory=Upstream)
    #: project -> requests that are being answered, also their streams
    open: Counter[str] = field(default_factory=Counter)
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    @classmethod
    def from_settings(cls) -> "Gateway":
        """The gateway of this process."""
        tokens = TokenCache()
        pool = ReplicaPool(secret(), settings.REPLICA_SLOTS, float(settings.GATEWAY_TIMEOUT_SECONDS))
        table = RouteTable(on_change=tokens.clear)
        metrics = Metrics(table)

        def note_addresses(addresses: set[str]) -> None:
            pool.forget_others(addresses)
            metrics.note_breakers(pool.open_addresses)

        table.on_read = note_addresses
        log = RequestLogWriter(log_folder(), on_write=metrics.record, on_failure=metrics.log_failed)
        limits = RateLimiter(settings.REDIS_URL, per_minute=settings.API_REQUESTS_PER_MINUTE)
        keys = IdempotencyKeys(settings.REDIS_URL)
        responder = Responder(pool, log, ExternalModels(float(settings.GATEWAY_TIMEOUT_SECONDS)))
        responder.tracer = tracer_of_environment(table)
        files = FileReader(readers=settings.GATEWAY_FILE_READERS, seconds=float(settings.GATEWAY_FILE_SECONDS))
        return cls(tokens, table, limits, pool, log, responder, keys, metrics, files)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps routes and log up to date during the block."""
        await self.table.refresh()
        work = (self.table.run(), self.limits.counters.run(), self.log.run())
        self._tasks = [asyncio.create_task(coroutine) for coroutine in work]
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, *self.responder.shadows, return_exceptions=True)
            await self.pool.close()
            await self.upstream.close()
            self.responder.external.close()
            self.files.close()
            self.bodies.close()
            await self.limits.counters.close()
            await self.keys.close()
            self.log.complete()
            if self.responder.tracer is not None:
                await asyncio.to_thread(self.responder.tracer.close)

    async def authorize(self, request: Request, slug: str = "", *, scope: str = SCOPE, also: str = "") -> Caller:
        """The caller of a request, by its header alone: nothing of its body is read before.

        ``slug``: the project, where the address names it; ``also``: a scope that is enough, too.

        Raises GatewayProblem: 401, 403, 404 (another project) or 429.
        """
        address = network_of(request.client.host) if request.client is not None else ""
        given = request.headers.get("authorization", "")
        try:
            caller = await self.tokens.caller(
                given, scope=scope, also=also, before_query=lambda: self.limits.check_guesses(address)
            )
        except GatewayProblem as problem:
            if problem.code == "invalid_token":
                self.limits.count_guess(address)
            raise
        self.limits.count(caller.subject, caller.limits)
        if slug:
            self.check_project(caller, slug)
        self.enter(request, caller.slug)
        return caller

    def enter(self, request: Request, slug: str) -> None:
        """Counts a request for its project until it has ended. Raises GatewayProblem 429 where too many are open: the
        others must not wait for one project.
        """
        if self.open[slug] >= MAX_OPEN:
            raise queue_full(f"This project already has {MAX_OPEN:,} open requests.")
        self.open[slug] += 1
        request.scope[_OPEN] = slug

    def leave(self, scope: Scope) -> None:
        """Counts a request that has ended no longer."""
        slug = scope.pop(_OPEN, None)
        if slug is not None:
            self.open[slug] -= 1
            if not self.open[slug]:
                del self.open[slug]

    @staticmethod
    def check_project(caller: Caller, slug: str) -> None:
        """Raises GatewayProblem 404 where the token is of another project."""
        if caller.slug != slug:
            raise GatewayProblem(404, "project", "The project does not exist, or the token belongs to another project.")

    def route(self, slug: str, number: int | None = None) -> Route:
        """The deployment of a project. ``number``: the version that the caller names. Raises GatewayProblem 404."""
        route = self.table.get(slug)
        if route is None or (route.stable is None and route.candidate is None):
            raise GatewayProblem(404, "not_deployed", "No model of this project is deployed.")
        if number is not None:
            known = [release.number for release in route.answering]
            if number not in known:
                shown = ", ".join(f"{slug}@{deployed}" for deployed in known)
                raise GatewayProblem(404, "version", f"Version {number} is not deployed. Deployed: {shown}.")
        return route

    @staticmethod
    def reject_unknown(body: dict[str, Any], known: set[str]) -> None:
        """Raises GatewayProblem 422 for a field that does not exist, which may be a spelling mistake."""
        unknown = sorted(set(body) - known)
        if unknown:
            raise GatewayProblem(
                422, "field", f"{unknown[0]} is unknown. Known: {', '.join(sorted(known))}.", field=unknown[0]
            )

    async def answer(self, request: Request, route: Route, extraction: ExtractionRequest) -> ExtractionResponse:
        """Answers a request, unless the caller hangs up: then the generation is cancelled.

        Raises:
            GatewayProblem: as ``Responder.answer``.
            HungUp: the caller closed the connection.
        """
        if extraction.is_batch:
            self.responder.check_idle(route, extraction)
        reserved = await self.reserve(route, extraction)
        answered = False
        try:
            with self.metrics.in_flight(route.slug):
                response = await unless_disconnected(request, self.responder.answer(route, extraction))
            answered = True
            return response
        finally:
            reserved.finish(answered=answered, tokens=extraction.used_tokens)

    async def reserve(self, route: Route, extraction: ExtractionRequest) -> Reservation:
        """Counts a request against the budgets of its project and token. Raises GatewayProblem 429."""
        subjects = [Subject("project", route.project_id, route.limits)]
        if extraction.token_id is not None:
            subjects.append(Subject("token", extraction.token_id, extraction.limits))
        return await self.limits.reserve(*subjects)

    async def respond(
        self,
        request: Request,
        caller: Caller | None,
        route: Route,
        body: dict[str, Any],
        extraction: ExtractionRequest,
        render: Callable[[ExtractionResponse], bytes],
    ) -> Response:
        """The response to a request as JSON, or that of an earlier request with the same idempotency key.

        ``caller`` None: without idempotency keys.
        """
        key = request.headers.get(idempotency.HEADER, "") if caller is not None else ""
        headers = {"X-Request-Id": extraction.id}
        if caller is None or not key:
            content = render(await self.answer(request, route, extraction))
            return Response(content, media_type="application/json", headers=headers)
        if not route.retention_days:
            raise GatewayProblem(
                422,
                "idempotency_key",
                "This project does not store responses. Send the request without an Idempotency-Key.",
            )
        owner = f"{caller.slug} {caller.token_id} {request.url.path}"
        sha256 = await self.bodies.in_thread(lambda: hashlib.sha256(orjson.dumps(body)).hexdigest())
        claim = await self.keys.claim(project=caller.slug, owner=owner, key=key, body_sha256=sha256)
        if isinstance(claim, idempotency.Known):
            content = await idempotency.response_of(claim, route.project_id, self.log)
            return Response(content, media_type="application/json", headers={"Idempotent-Replayed": "true"})
        extraction.render = render
        try:
            content = (await self.answer(request, route, extraction)).response
        except BaseException:
            if claim is not None:
                await self.keys.release(claim)
            raise
        if claim is not None:
            await self.keys.store(claim, extraction.id)
        return Response(content, media_type="application/json", headers=headers)
