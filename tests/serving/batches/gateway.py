"""A gateway for the job of a batch: an HTTP server in a thread, whose responses the test decides."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.servers import in_event_loop

Reply = Callable[[str], "tuple[int, dict[str, Any]]"]
OUTPUT = {"total": 12.5}


def right(text: str) -> tuple[int, dict[str, Any]]:
    """A valid output."""
    return 200, {"output": {**OUTPUT, "number": text}, "valid": True, "request_id": f"r-{text}"}


@dataclass
class Gateway:
    """Texts in the order in which they were asked, their pages and tokens, and the most that were open at the same
    time.
    """

    url: str
    reply: Reply = right
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)
    pages: dict[str, Any] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    open: int = 0
    most: int = 0


@contextlib.contextmanager
def gateway() -> Iterator[Gateway]:
    """The server during the block."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    stand_in = Gateway(f"http://127.0.0.1:{listener.getsockname()[1]}")

    async def extract(request: Request) -> JSONResponse:
        body = json.loads(await request.body())
        text = body["text"]
        stand_in.asked.append(text)
        stand_in.pages[text] = body.get("page")
        stand_in.tokens.add(request.headers["authorization"].removeprefix("Bearer "))
        stand_in.open += 1
        stand_in.most = max(stand_in.most, stand_in.open)
        await asyncio.sleep(stand_in.delay)
        stand_in.open -= 1
        status, answer = stand_in.reply(text)
        return JSONResponse(answer, status_code=status)

    app = Starlette(routes=[Route("/api/v1/projects/{slug}/extract", extract, methods=["POST"])])
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with in_event_loop(app, listener):
            ready.set()
            await asyncio.to_thread(stop.wait)

    running = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    running.start()
    try:
        assert ready.wait(20)
        yield stand_in
    finally:
        stop.set()
        running.join(5)
        listener.close()
