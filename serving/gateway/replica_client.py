"""A small HTTP/1.1 client for replicas: a general one takes a third of what the gateway needs for a request."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httptools

from serving.replicas.addresses import HTTP, UNIX

#: of a connection to another host: seconds of silence, between probes, probes; milliseconds for sent data
_KEEPALIVE = {"TCP_KEEPIDLE": 2, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 5_000}
CONNECT_SECONDS = 2.0
#: bytes of a response
MAX_RESPONSE = 64 * 1024 * 1024


class Unavailable(Exception):
    """No response: the connection failed, ended early, or what came is no HTTP."""


class _Connection(asyncio.Protocol):
    """One request after another on one connection."""

    def __init__(self, on_close: Callable[["_Connection"], None]) -> None:
        self._on_close = on_close
        self._transport: Any = None
        self._waiter: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._size = 0
        self.has_begun = False

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._waiter is None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the response. Raises Unavailable. Cancelled, it closes the connection."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._body, self._size, self.has_begun = [], 0, False
        self._transport.write(request)
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """The replica stops what it was doing."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.has_begun = True
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the response is not valid HTTP: {error}")
        if self._size > MAX_RESPONSE:
            self._fail("the response is too large")

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(str(error) if error else "the connection was closed")
        self._on_close(self)

    # -- httptools ----------------------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self._transport.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result((self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, why: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Unavailable(why))
        if self._transport is not None:
            self._transport.abort()


def _keep_alive(connected: socket.socket) -> None:
    """The connection ends some seconds after the other host has, without waiting for an answer of it."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class ReplicaClient:
    """Connections to one replica: ``unix:PATH`` or ``http://HOST:PORT``. ``secret``: its bearer token."""

    def __init__(self, address: str, secret: str) -> None:
        self._address = address
        self._head = (
            b"POST /answer HTTP/1.1\r\nHost: replica\r\nContent-Type: application/json\r\nAuthorization: Bearer "
            + secret.encode() + b"\r\nContent-Length: "
        )  # fmt: skip
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self.is_closed = False

    async def ask(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the response to a document. Raises Unavailable and OSError."""
        request = b"%s%d\r\n\r\n%s" % (self._head, len(body), body)
        connection = self._free()
        if connection is not None:
            try:
                return await self._ask(connection, request)
            except Unavailable:
                if connection.has_begun:
                    raise
                # The replica had closed the idle connection: it has not read the request.
        return await self._ask(await self._connect(), request)

    async def _ask(self, connection: _Connection, request: bytes) -> tuple[int, bytes]:
        response = await connection.ask(request)
        if connection.is_usable:
            self._idle.append(connection)
        return response

    def _free(self) -> _Connection | None:
        while self._idle:
            idle = self._idle.pop()
            if idle.is_usable:
                return idle
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()

        def make() -> _Connection:
            return _Connection(self._open.discard)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if self._address.startswith(UNIX):
                    _, connection = await loop.create_unix_connection(make, self._address.removeprefix(UNIX))
                else:
                    host, _, port = self._address.removeprefix(HTTP).rpartition(":")
                    transport, connection = await loop.create_connection(make, host.strip("[]"), int(port))
                    _keep_alive(transport.get_extra_info("socket"))
        except TimeoutError:
            raise Unavailable(f"no connection within {CONNECT_SECONDS:g} s") from None
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Closes all connections."""
        self.is_closed = True
        for connection in list(self._open):
            connection.close()
        self._idle.clear()
