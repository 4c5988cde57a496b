"""HTTP servers of tests that end at once: those of the standard library look for their end twice a second, and uvicorn
waits a tenth of a second twice.
"""

import contextlib
import socket
import socketserver
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn


@contextlib.contextmanager
def in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """The server answers during the block, in a thread."""
    # It sends head and body apart, and the second would wait 40 ms for the first to be acknowledged.
    server.RequestHandlerClass.disable_nagle_algorithm = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextlib.asynccontextmanager
async def in_event_loop(app: Any, *sockets: socket.socket, **options: Any) -> AsyncIterator[None]:
    """uvicorn answers during the block, in this event loop; then its connections are cut."""
    config = uvicorn.Config(app, lifespan="off", log_level="critical", **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([*sockets] or None)
    await server.on_tick(0)  # the headers that every response has
    try:
        yield
    finally:
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
