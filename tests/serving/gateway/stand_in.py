"""An OpenAI-compatible server of the test that answers with given bytes, and the gateway on a port of this machine."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from evaluation.inference.clients.openai_options import EndpointConfig
from serving.gateway.external_models import ExternalRoute
from serving.gateway.intake.connection import Connection
from serving.gateway.routes import ReleaseRoute, Route
from tests.servers import in_event_loop, in_thread
from tests.serving.gateway.rig import SCHEMA, Rig, rig
from tests.stack.test_serve import free_port


@dataclass
class Received:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class StandIn:
    """What the server got, and what it answers: pieces of a body, between which it waits for ``go_on``."""

    url: str
    received: list[Received] = field(default_factory=list)
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    waits: bool = False
    breaks_off: bool = False
    go_on: threading.Event = field(default_factory=threading.Event)
    #: set once the caller of the server has gone
    gone: threading.Event = field(default_factory=threading.Event)

    def answers(self, *pieces: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """From now on."""
        self.pieces, self.status, self.kind = list(pieces), status, kind
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@contextlib.contextmanager
def standing_in() -> Iterator[StandIn]:
    """The server, in threads."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stand_in.received.append(Received(self.command, self.path, headers, body))
            self.send_response(stand_in.status)
            self.send_header("Content-Type", stand_in.kind)
            for name, value in stand_in.headers.items():
                self.send_header(name, value)
            if stand_in.kind == "text/event-stream":
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self._stream()
            else:
                self.send_header("Content-Length", str(sum(map(len, stand_in.pieces))))
                self.end_headers()
                self.wfile.write(b"".join(stand_in.pieces))

        def _stream(self) -> None:
            try:
                for number, piece in enumerate(stand_in.pieces):
                    if number and stand_in.waits:
                        stand_in.go_on.wait(10)
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
                if stand_in.breaks_off:
                    stand_in.go_on.wait(10)
                    self.close_connection = True
                else:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True
                stand_in.gone.set()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *arguments: Any) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    stand_in = StandIn(f"http://127.0.0.1:{server.server_port}/v1")
    with in_thread(server):
        try:
            yield stand_in
        finally:
            stand_in.go_on.set()


def external(url: str, *, key: str = "", number: int = 9) -> ReleaseRoute:
    """The release of the external model at this URL."""
    config = EndpointConfig(url=url, model="big", key=key)
    return ReleaseRoute(number, number, SCHEMA, external=ExternalRoute(4, "Big", config, "Extract.", SCHEMA))


@dataclass
class Listening:
    """A gateway on a port."""

    port: int
    rig: Rig
    loop: asyncio.AbstractEventLoop

    def base(self, slug: str = "invoices") -> str:
        """The address that callers give their client."""
        return f"http://127.0.0.1:{self.port}/capture/{slug}/v1"

    def rows(self, number: int = 1) -> list[dict[str, Any]]:
        """The rows of the log, once there are so many and no shadow is under way."""
        asyncio.run_coroutine_threadsafe(self._settled(number), self.loop).result(10)
        return self.rig.log.rows()

    async def _settled(self, number: int) -> None:
        while len(self.rig.log.rows()) < number or self.rig.gateway.responder.shadows:
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def listening(folder: Path, route: Route, **options: Any) -> Iterator[Listening]:
    """The gateway with this route, in a thread with an event loop of its own."""
    ready, stop = threading.Event(), threading.Event()
    started: list[Listening] = []

    async def work() -> None:
        async with rig(folder, route, **{"timeout": 10.0, **options}) as gateway:
            port = free_port()
            app = gateway.client._transport.app  # type: ignore[attr-defined]
            async with in_event_loop(app, port=port, http=Connection, ws="none"):
                started.append(Listening(port, gateway, asyncio.get_running_loop()))
                ready.set()
                await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(20)
        yield started[0]
    finally:
        stop.set()
        thread.join()
