"""A real HTTP server that takes what webhooks send."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers import in_thread


@dataclass
class Received:
    """One message as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What arrived, and what is answered: ``statuses`` are used up one by one, then it is 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    seconds: float = 0
    location: str = ""
    drips: int = 0  # this many header lines, one every 0.1 s, so that no single read is too late
    messages: list[Received] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Runs a receiver on a free port of this machine."""
    state = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.messages.append(Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            time.sleep(state.seconds)
            with suppress(OSError):  # who gave up has hung up
                for drip in range(state.drips):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n" if not drip else b"X-1: 1\r\n")
                    time.sleep(0.1)
            self.send_response(state.statuses.pop(0) if state.statuses else 200)
            if state.location:
                self.send_header("Location", state.location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            state.messages.append(Received(self.path, {}, b""))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/hook"
    with in_thread(server):
        yield state
