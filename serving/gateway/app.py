"""The ASGI application of the gateway, started by ``python -m serving.gateway``."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
django.setup()

from django.conf import settings  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import ClientDisconnect, Request  # noqa: E402
from starlette.responses import PlainTextResponse, Response  # noqa: E402
from starlette.routing import Route  # noqa: E402
from starlette.types import ASGIApp, Receive, Scope, Send  # noqa: E402

from serving.gateway import chat_completions, engine_metrics, extract, feedback  # noqa: E402
from serving.gateway.app_state import Gateway  # noqa: E402
from serving.gateway.capture.handler import capture  # noqa: E402
from serving.gateway.intake.bodies import HungUp  # noqa: E402
from serving.gateway.metrics import CONTENT_TYPE  # noqa: E402
from serving.gateway.problems import GatewayProblem  # noqa: E402
from serving.gateway.replay import replay  # noqa: E402
from serving.gateway.tracing import timeline  # noqa: E402
from slmstudio.logs.json_lines import log_facts, sane_id  # noqa: E402
from slmstudio.logs.requests import HEADER, log_access  # noqa: E402
from slmstudio.runs.parent_death import die_with_parent  # noqa: E402

logger = logging.getLogger(__name__)
Handler = Callable[[Request, Gateway, str], Awaitable[Response]]


def _endpoint(handler: Handler, *, openai: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A Starlette endpoint: every error becomes a response of the interface."""

    async def endpoint(request: Request) -> Response:
        began, request_id = time.monotonic(), str(uuid.uuid4())
        given = request.headers.get(HEADER)
        address = request.client.host if request.client is not None else ""
        with log_facts(request_id=request_id, caller_request_id=sane_id(given) if given else "", address=address):
            answer = await answered(request, request_id)
            if settings.LOG_FORMAT == "json":
                log_access(request.method, request.url.path, answer.status_code, began)
        return answer

    async def answered(request: Request, request_id: str) -> Response:
        if request.app.state.gateway.responder.tracer is not None:
            timeline.begin(request.headers.get("traceparent", ""))
        try:
            return await handler(request, request.app.state.gateway, request_id)
        except GatewayProblem as raised:
            problem = raised
        except (ClientDisconnect, HungUp):
            return Response(status_code=499)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            problem = GatewayProblem(500, "internal", "Internal error. See the gateway log.")
        if not problem.is_logged:
            request.app.state.gateway.metrics.rejected(problem.status, problem.code)
        return problem.openai_response(request_id) if openai else problem.response(request_id)

    return endpoint


async def _metrics(request: Request, gateway: Gateway, request_id: str) -> Response:
    """With METRICS_TOKEN all metrics; with a token of the scope ``read`` those of its project."""
    given = request.headers.get("authorization", "")
    expected = f"Bearer {settings.METRICS_TOKEN}"
    project = None
    if not settings.METRICS_TOKEN or not secrets.compare_digest(given.encode(), expected.encode()):
        project = (await gateway.authorize(request, scope="read")).slug
    folder = gateway.log.folder
    replicas, engines = await asyncio.gather(
        gateway.table.replicas(), engine_metrics.scrape(gateway.pool.secret, project)
    )
    text = await asyncio.to_thread(
        lambda: gateway.metrics.text(project, replicas=replicas, log=folder, engines=engines)
    )
    return Response(text, media_type=CONTENT_TYPE)


async def _health(request: Request) -> Response:
    """200 once the routes were read."""
    ready = request.app.state.gateway.table.loaded
    return PlainTextResponse("ok" if ready else "starting", status_code=200 if ready else 503)


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    detail = "This URL does not support this method." if status == 405 else "There is nothing at this URL."
    return GatewayProblem(status, "address", detail).response(str(uuid.uuid4()))


class _Counted:
    """Counts an open request of a project until the last byte of its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                scope["app"].state.gateway.leave(scope)


def create_app(make: Callable[[], Gateway] = Gateway.from_settings) -> Starlette:
    """The application. ``make`` is called when it starts."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        parent = multiprocessing.parent_process()
        if parent is not None:
            die_with_parent(parent.pid)  # a worker that outlives the gateway would keep its port
        app.state.gateway = make()
        async with app.state.gateway.running():
            yield

    return Starlette(
        routes=[
            Route("/healthz", _health),
            Route("/metrics", _endpoint(_metrics)),
            Route("/api/v1/projects/{slug}/extract", _endpoint(extract.extract), methods=["POST"]),
            Route("/api/v1/projects/{slug}/feedback", _endpoint(feedback.feedback), methods=["POST"]),
            Route("/api/v1/projects/{slug}/replay", _endpoint(replay), methods=["POST"]),
            Route("/v1/models", _endpoint(chat_completions.models, openai=True)),
            Route("/v1/models/{model:path}", _endpoint(chat_completions.model, openai=True)),
            Route("/v1/chat/completions", _endpoint(chat_completions.chat_completions, openai=True), methods=["POST"]),
            Route("/capture/{slug}/v1/{path:path}", _endpoint(capture, openai=True), methods=["GET", "POST"]),
        ],
        middleware=[Middleware(_Counted)],
        exception_handlers={404: _not_found, 405: _not_found},
        lifespan=lifespan,
    )


app = create_app()
