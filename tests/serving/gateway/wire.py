"""Raw bytes on both sides of a gateway: callers that send anything, replicas that answer anything."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from serving.gateway.intake.connection import Connection
from tests.servers import in_event_loop
from tests.serving.gateway.rig import Rig

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = (
    b"POST /api/v1/projects/invoices/extract HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer good\r\n"
    b"Content-Type: application/json\r\n"
)


@contextlib.asynccontextmanager
async def listening(gateway: Rig) -> AsyncIterator[int]:
    """The port of the gateway."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    app = gateway.client._transport.app  # type: ignore[attr-defined]
    async with in_event_loop(app, listener, http=Connection, ws="none"):
        yield int(listener.getsockname()[1])
    listener.close()


@contextlib.asynccontextmanager
async def raw_backend(path: Path, speak: Speak) -> AsyncIterator[str]:
    """A replica that writes bytes; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await speak(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(handle, path)
    try:
        yield f"unix:{path}"
    finally:
        server.close()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request to a replica."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def writes(*pieces: bytes) -> Speak:
    """A replica that answers with these bytes and closes the connection."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return speak


def response(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> bytes:
    """A response with a length."""
    return b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (status, kind, len(body), body)


async def exchange(port: int, *pieces: bytes) -> tuple[int, bytes]:
    """Status and body of the response to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return int(head.split(b" ", 2)[1]), await reader.readexactly(length)
    finally:
        writer.close()


async def hang_up(port: int, *pieces: bytes, after: Callable[[], bool] = lambda: True) -> None:
    """Sends bytes, waits, and closes the connection without reading."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    while not after():
        await asyncio.sleep(0.005)
    writer.transport.abort()
