"""A gateway in this process without a database: routes and tokens are given, replicas are HTTP servers on sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path_

from serving.captures.services import key_sha256
from serving.gateway.app import create_app
from serving.gateway.app_state import Gateway
from serving.gateway.database import in_database
from serving.gateway.external_models import ExternalModels
from serving.gateway.files import FileReader
from serving.gateway.idempotency import IdempotencyKeys
from serving.gateway.limits import RateLimiter, Used, used_of
from serving.gateway.metrics import Metrics
from serving.gateway.replica_pool import ReplicaPool
from serving.gateway.request_log.store import LogStore
from serving.gateway.request_log.writer import RequestLogWriter
from serving.gateway.responder import Responder
from serving.gateway.routes import ReleaseRoute, ReplicaCounts, Route, RouteTable
from serving.gateway.tokens import Caller, TokenCache
from serving.models import RequestLog
from slmstudio.contract.schema.compiled import compile_schema
from tests.servers import in_event_loop

SCHEMA = compile_schema(
    {
        "type": "object",
        "properties": {"number": {"type": "string"}, "total": {"type": "number"}},
        "required": ["number", "total"],
        "additionalProperties": False,
    }
)
TEXT = "Invoice A-17, total 12.50"
RAW = '{"number":"A-17","total":12.50}'
ANSWER: dict[str, Any] = {
    "raw": RAW, "finish_reason": "stop", "queue_ms": 1.0, "model_ms": 2.0, "prompt_tokens": 30, "output_tokens": 12,
    "confidence": {"number": [0.9, 0.95], "total": [0.8, 0.85]}, "error": "", "code": "",
}  # fmt: skip
Reply = Callable[[str], Awaitable[Response]]


def reply(**changes: Any) -> Reply:
    """A replica that answers everything the same."""

    async def answer(text: str) -> Response:
        return JSONResponse({**ANSWER, **changes})

    return answer


@dataclass
class Backend:
    """A replica of the test, and the texts that it got."""

    address: str
    asked: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def backend(path: Path, answer: Reply) -> AsyncIterator[Backend]:
    """An HTTP server on a UNIX socket."""
    replica = Backend(f"unix:{path}")

    async def handle(request: Request) -> Response:
        text = json.loads(await request.body())["text"]
        replica.asked.append(text)
        return await answer(text)

    app = Starlette(routes=[Path_("/answer", handle, methods=["POST"])])
    async with in_event_loop(app, uds=str(path)):
        yield replica


def release(number: int, *addresses: str) -> ReleaseRoute:
    """A release that these addresses answer for."""
    return ReleaseRoute(number, number, SCHEMA, addresses)


def route(stable: ReleaseRoute | None, candidate: ReleaseRoute | None = None, **changes: Any) -> Route:
    """The deployment of the project ``invoices``."""
    keys = frozenset({key_sha256(1, "sk-caller")})
    values = {"caller_keys": keys, "stage": "", "share": 0.0, "max_queue": 8, "retention_days": 30, **changes}
    return Route(1, "invoices", stable, candidate, **values)


class Tokens(TokenCache):
    """Two tokens that are valid without a database."""

    async def _lookup(self, text: str, before_query: Callable[[], None]) -> Caller | None:
        known = {
            "good": Caller(7, "invoices", frozenset({"extract", "read"}), None),
            "slm_good": Caller(7, "invoices", frozenset({"extract", "read"}), None),
            "other": Caller(8, "receipts", frozenset({"extract"}), None),
            "reader": Caller(9, "invoices", frozenset({"read"}), None),
            "judge": Caller(10, "invoices", frozenset({"feedback"}), None),
        }
        return known.get(text)


class Log(RequestLogWriter):
    """The log's files."""

    def rows(self) -> list[dict[str, Any]]:
        """Everything that was logged, in order."""
        lines = [line for path in sorted(self.folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    async def store(self) -> None:
        """Moves everything to the database, as the store's process does."""
        self.complete()
        await in_database(LogStore(self.folder).store_files, seconds=None)


def row_of(entry: dict[str, Any]) -> RequestLog:
    """The row of what ``rows`` returns."""
    at = datetime.fromisoformat(entry["created_at"])
    return RequestLog(**{**entry, "created_at": at, "day": at.astimezone(UTC).date()})


class Table(RouteTable):
    """Given routes."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def refresh(self) -> None:
        self.loaded = True

    async def replicas(self) -> ReplicaCounts | None:
        return {(slug, "3", "ready"): 2 for slug in self.routes}


@dataclass
class Rig:
    """The gateway and a client of it."""

    gateway: Gateway
    client: httpx.AsyncClient
    log: Log

    async def extract(self, text: Any = TEXT, *, token: str = "good", slug: str = "invoices", **more: Any) -> Any:
        """The response to a document."""
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return await self.client.post(f"/api/v1/projects/{slug}/extract", json={"text": text, **more}, headers=headers)


@contextlib.asynccontextmanager
async def rig(
    folder: Path,
    *routes: Route,
    per_minute: int = 10_000,
    slots: int = 1,
    timeout: float = 5.0,
    file_seconds: float = 20.0,
    redis: str = "redis://127.0.0.1:1",
    used: Used = used_of,
) -> AsyncIterator[Rig]:
    """A running gateway with these routes."""
    table = Table(routes={deployed.slug: deployed for deployed in routes})
    metrics = Metrics(table)
    pool = ReplicaPool("secret", slots, timeout)
    log = Log(folder / "log", on_write=metrics.record, on_failure=metrics.log_failed)
    limits = RateLimiter(redis, per_minute=per_minute, used=used)
    keys = IdempotencyKeys(redis)
    responder = Responder(pool, log, ExternalModels(timeout))
    files = FileReader(readers=1, seconds=file_seconds)
    gateway = Gateway(Tokens(), table, limits, pool, log, responder, keys, metrics, files)
    app = create_app(lambda: gateway)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
    ):
        yield Rig(gateway, client, log)


@contextlib.asynccontextmanager
async def answering(
    folder: Path, answer: Reply | None = None, *, number: int = 1, **options: Any
) -> AsyncIterator[tuple[Rig, Backend]]:
    """A gateway whose only release, with this number, has one replica; ``options``: of the route or of ``rig``."""
    names = {field.name for field in fields(Route)} & options.keys()
    async with backend(folder / "a", answer or reply()) as replica:
        deployed = route(release(number, replica.address), **{name: options.pop(name) for name in names})
        async with rig(folder, deployed, **options) as gateway:
            yield gateway, replica
