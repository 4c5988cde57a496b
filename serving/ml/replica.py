"""A replica: one process that answers for a package. ``python -m serving.ml.replica FOLDER --address ADDRESS``.

HTTP on a UNIX socket (``unix:PATH``) or a port (``http://HOST:PORT``), with the secret of the environment variable
``REPLICA_SECRET`` as bearer token where it is set (several, separated by blanks: any of them):

- ``POST /answer`` {"text"} -> the fields of ``ModelOutput``. Closing the connection cancels the generation.
- ``GET /health`` -> {"state": "ready" | "draining"}, and with the secret {"active", "identity"}: the hashes of what
  runs.
- ``POST /drain``: finishes what it has, rejects more with 503, and ends.
- ``GET /metrics``: of the engine, in Prometheus's text format.

Events on standard output: ``ready`` {address, identity} once it answers; an error as in every child process.
"""

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.ml.loading import LoadedPackage, check_fingerprint, load_package
from serving.replicas.protocol import MAX_TEXT, SECRET_VARIABLE, ModelOutput
from slmstudio.errors import Refused
from slmstudio.logs.json_lines import log_as_parent
from slmstudio.runs.parent_death import die_with_parent
from slmstudio.storage.hashing import sha256_text
from training.ml.events import Emitter, describe_error, open_events


class Replica:
    """The HTTP application around a loaded package."""

    def __init__(self, package: LoadedPackage, accepted: list[str]) -> None:
        self.package = package
        self.identity = {
            "package": package.sha256,
            "schema": package.schema.hash,
            "prompt": sha256_text(package.spec.to_yaml()),
            "engine": package.engine.version,
            "variant": package.spec.key,
        }
        self._secrets = accepted
        self._active = 0
        self._draining = False
        self.drained = asyncio.Event()
        self.app = Starlette(
            routes=[
                Route("/answer", self.answer, methods=["POST"]),
                Route("/health", self.health),
                Route("/drain", self.drain, methods=["POST"]),
                Route("/metrics", self.metrics),
            ]
        )

    async def answer(self, request: Request) -> Response:
        """Answers one document; the generation is cancelled when the caller hangs up."""
        if not self._is_authorized(request):
            return _json({"detail": "The secret is missing or wrong."}, 401)
        if self._draining:
            return _json({"detail": "The replica is draining."}, 503)
        try:
            text = orjson.loads(await request.body())["text"]
        except (ValueError, KeyError, TypeError):
            text = None
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            return _json({"detail": f"Send an object with a text of at most {MAX_TEXT:,} characters."}, 422)
        self._active += 1
        try:
            answer = await self._unless_disconnected(request, text)
        finally:
            self._active -= 1
            if self._draining and not self._active:
                self.drained.set()
        return _json(asdict(answer)) if answer is not None else Response(status_code=499)

    async def _unless_disconnected(self, request: Request, text: str) -> ModelOutput | None:
        work = asyncio.ensure_future(self.package.engine.answer(text))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)

    async def health(self, request: Request) -> Response:
        """Its state and what it runs."""
        state = "draining" if self._draining else "ready"
        known = {"active": self._active, "identity": self.identity} if self._is_authorized(request) else {}
        return _json({"state": state, **known})

    async def drain(self, request: Request) -> Response:
        """Rejects further documents; the process ends after the last one."""
        if not self._is_authorized(request):
            return _json({"detail": "The secret is missing or wrong."}, 401)
        self.start_draining()
        return _json({"active": self._active})

    def start_draining(self) -> None:
        """The same, from a signal."""
        self._draining = True
        if not self._active:
            self.drained.set()

    async def metrics(self, request: Request) -> Response:
        """Metrics of the engine."""
        if not self._is_authorized(request):
            return _json({"detail": "The secret is missing or wrong."}, 401)
        return Response(await self.package.engine.metrics(), media_type="text/plain; version=0.0.4")

    def _is_authorized(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._secrets:
            return True
        return any(secrets.compare_digest(given.encode(), known.encode()) for known in self._secrets)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


class _Server(uvicorn.Server):
    """A server whose signals are handled by ``serve``."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(folder: Path, address: str, *, sha256: str, slots: int, emitter: Emitter, variant: str = "") -> None:
    """Loads the package, checks that its engine applies schemas, and answers until it is drained.

    Raises:
        Refused, SpecError: the package cannot be served.
    """
    package = load_package(folder, sha256=sha256, slots=slots, variant=variant)
    try:
        await package.start()
        await check_fingerprint(folder, package)
        await answer_requests(
            package, address, lambda identity: emitter.emit("ready", address=address, identity=identity)
        )
    finally:
        await package.engine.close()


async def answer_requests(package: LoadedPackage, address: str, on_ready: Callable[[dict[str, str]], None]) -> None:
    """Answers with a started package until it is drained. ``on_ready``: called with its identity once it answers.

    Raises:
        Refused: (code ``address``) the address cannot be used.
    """
    replica = Replica(package, os.environ.get(SECRET_VARIABLE, "").split())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, replica.start_draining)
    async with _listening(replica.app, address):
        on_ready(replica.identity)
        await replica.drained.wait()


@contextlib.asynccontextmanager
async def _listening(app: Starlette, address: str) -> AsyncIterator[None]:
    where: dict[str, Any] = {}
    if address.startswith("unix:"):
        path = Path(address.removeprefix("unix:"))
        path.unlink(missing_ok=True)
        where["uds"] = str(path)
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        where |= {"host": host.strip("[]"), "port": int(port)}
    config = uvicorn.Config(app, **where, log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=300)
    server = _Server(config)
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        if running.done():
            raise Refused(f"The address {address} cannot be used.", code="address")
        await asyncio.sleep(0.01)
    if "uds" in where:
        os.chmod(where["uds"], 0o600)
    try:
        yield
    finally:
        server.should_exit = True
        await running


def main(argv: list[str]) -> int:
    """The child process; exit codes as in ``training.ml.events``."""
    parser = argparse.ArgumentParser(prog="python -m serving.ml.replica")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--sha256", default="")
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--variant", default="", help="key of the engine and file; default: the first one")
    options = parser.parse_args(argv)
    die_with_parent()
    log_as_parent()
    emitter = open_events()
    try:
        asyncio.run(
            serve(
                options.folder,
                options.address,
                sha256=options.sha256,
                slots=options.slots,
                emitter=emitter,
                variant=options.variant,
            )
        )
    except Exception as error:
        kind, message = describe_error(error)
        emitter.emit("error", kind=kind, message=message)
        if kind == "crash":
            raise
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
