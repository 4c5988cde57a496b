"""Connections of callers: time-outs, and room for new ones, so that idle and slow clients do not block others.

uvicorn itself waits for a header for ever, and answers everything with 503 above a number of connections, health checks
included. Here a connection that costs its client least is closed instead, as the web server does it
(``slmstudio.server.connection``). Bodies have their own limits (``serving.gateway.intake.bodies``).
"""

import asyncio
import time
import uuid
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from serving.gateway.problems import GatewayProblem, unavailable
from slmstudio.server.master import open_files_limit
from slmstudio.web.addresses import address_of, is_trusted_proxy, network_of

#: seconds for a whole header, also of a connection without a byte
HEADER_SECONDS = 15.0
#: seconds that the rest of a body is discarded whose request was answered before, so that its client sees the answer
LINGER_SECONDS = 10.0
#: bytes that are discarded between two looks at the time-outs; then their connections wait for the next one
MAX_DISCARDED = 32 * 2**20
#: seconds without a byte taken of an answer
STALLED_SECONDS = 30.0
#: seconds between two looks at the time-outs
CHECK_SECONDS = 1.0
#: bytes of a header, and of what is no part of a body after it
MAX_HEADER = 65_536
#: open connections of a process, or three quarters of the files that it may open
MAX_CONNECTIONS = 8_192
#: of one address: connections, or requests at the same time through a trusted proxy
MAX_PER_ADDRESS = 1_000
_HEALTH = b"/healthz"
#: phases of connections that are closed first where there are too many
_ENDED_FIRST = ("idle", "header", "linger", "body")


class OpenConnections:
    """The connections of one server, by address and in the order in which they were made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._all: dict[Connection, None] = {}
        self._of_address: dict[str, dict[Connection, None]] = {}
        self._limit = min(MAX_CONNECTIONS, open_files_limit() * 3 // 4)
        self._is_checking = False
        self._discarded = 0
        self._paused: set[Connection] = set()

    def add(self, connection: "Connection") -> None:
        """A new connection; where there are too many, others are closed for it."""
        self._all[connection] = None
        if len(self._all) > self._limit:
            _make_room(connection, self._all, self._limit)
        if not self._is_checking:
            self._is_checking = True
            self._loop.call_later(CHECK_SECONDS, self._check)

    def remove(self, connection: "Connection") -> None:
        """A connection that was closed."""
        self._all.pop(connection, None)
        self._paused.discard(connection)

    def enter(self, address: str, connection: "Connection") -> int:
        """Counts a connection for an address; returns how many it has."""
        group = self._of_address.setdefault(address, {})
        group[connection] = None
        return len(group)

    def leave(self, address: str, connection: "Connection") -> None:
        """Counts it no longer."""
        group = self._of_address.get(address, {})
        group.pop(connection, None)
        if not group:
            self._of_address.pop(address, None)

    def make_room_for(self, connection: "Connection", address: str) -> None:
        """Closes other connections of its address, which has too many."""
        _make_room(connection, self._of_address[address], MAX_PER_ADDRESS)

    @property
    def are_too_many(self) -> bool:
        """Whether no room could be made, as all are being answered."""
        return len(self._all) > self._limit

    def discard(self, number: int, connection: "Connection") -> None:
        """Bytes of a body whose request was answered before: as they cost time, a connection may have to wait."""
        self._discarded += number
        if self._discarded > MAX_DISCARDED:
            self._paused.add(connection)
            connection.flow.pause_reading()

    def _check(self) -> None:
        now = time.monotonic()
        self._discarded = 0
        for connection in self._paused:
            connection.flow.resume_reading()
        self._paused.clear()
        for connection in [*self._all]:
            if connection.is_timed_out(now):
                connection.end()
        self._is_checking = bool(self._all)
        if self._is_checking:
            self._loop.call_later(CHECK_SECONDS, self._check)


def _make_room(new: "Connection", connections: Iterable["Connection"], limit: int) -> None:
    """Closes a quarter of the limit: those that cost a client least, the oldest first."""
    waiting = [
        (_ENDED_FIRST.index(phase), number, connection)
        for number, connection in enumerate(connections)
        if connection is not new and (phase := connection.phase()) in _ENDED_FIRST
    ]
    waiting.sort(key=lambda row: row[:2])
    for _, _, connection in waiting[: max(1, limit // 4)]:
        connection.end()


_OPEN: "WeakKeyDictionary[ServerState, OpenConnections]" = WeakKeyDictionary()


class Connection(HttpToolsProtocol):
    """A connection with time-outs. It counts for its address, or while it is answered for the client of its proxy."""

    # of uvicorn, which does not type them
    transport: asyncio.Transport

    def __init__(self, config: Any, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        connections = _OPEN.get(server_state)
        if connections is None:
            connections = _OPEN[server_state] = OpenConnections(self.loop)
        self._open = connections
        self._address = ""
        self._is_proxy = False
        self._in_message = self._in_header = False
        self._served = 0
        #: bytes since the last one of a body
        self._overhead = 0
        self._measured: tuple[str, int, int] = ("", 0, 0)
        self._since = time.monotonic()

    # -- what uvicorn calls --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As in uvicorn."""
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        self._is_proxy = not peer or is_trusted_proxy(peer)
        self._open.add(self)
        if not self._is_proxy and self._enter(network_of(peer)) > MAX_PER_ADDRESS:
            self._open.make_room_for(self, self._address)

    def connection_lost(self, exc: Exception | None) -> None:
        """As in uvicorn."""
        self._forget()
        super().connection_lost(exc)

    def end(self) -> None:
        """Closes the connection at once. It counts no longer, although the event loop has not noticed it yet."""
        self._forget()
        self.transport.abort()

    def _forget(self) -> None:
        self._open.remove(self)
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Stops a header that does not end; uvicorn has no limit."""
        self._overhead += len(data)
        super().data_received(data)
        if self._overhead > MAX_HEADER and not self.transport.is_closing():
            if self._in_header and self.phase() == "header":
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
                self.transport.close()
            else:  # a trailer, or a header behind a request that is being answered
                self.end()

    def on_message_begin(self) -> None:
        """As in uvicorn."""
        self._in_message = self._in_header = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """As in uvicorn; decides whether there is room for the request."""
        self._in_header = False
        self._overhead = 0
        problem = self._problem()
        self.app = problem.response(str(uuid.uuid4())) if problem else self.config.loaded_app
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As in uvicorn."""
        self._overhead = 0
        if self.cycle.response_complete:
            self._open.discard(len(body), self)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As in uvicorn."""
        self._in_message = False
        self._overhead = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As in uvicorn."""
        self._served += 1
        if self._is_proxy:
            self._leave()
        super().on_response_complete()

    # -- limits --------------------------------------------------------------------------------------------------------

    def phase(self) -> str:
        """What it is doing: ``header``, ``body``, ``work``, ``write``, ``linger`` or ``idle``."""
        if self.transport.is_closing() or self.transport.get_write_buffer_size():
            return "write"
        if self.cycle is not None and not self.cycle.response_complete:
            return "body" if self.cycle.more_body else "work"
        if self._in_message:
            return "header" if self._in_header else "linger"
        # A new connection has to send a request soon; one that was answered may wait for its next one.
        return "idle" if self._served else "header"

    def is_timed_out(self, now: float) -> bool:
        """Whether the client takes too long; asked about once a second."""
        phase = self.phase()
        measured = (phase, self._served, self.transport.get_write_buffer_size() if phase == "write" else 0)
        if measured != self._measured:
            self._measured, self._since = measured, now
        limits = {
            "header": HEADER_SECONDS, "linger": LINGER_SECONDS, "write": STALLED_SECONDS,
            "idle": float(self.timeout_keep_alive),
        }  # fmt: skip
        return phase in limits and now - self._since > limits[phase]

    def _problem(self) -> GatewayProblem | None:
        """Why there is no room for the request whose header has arrived. Health checks are always answered."""
        if self._is_proxy and (client := self._forwarded()):
            self.scope["client"] = (client, 0)
            self._leave()
            number = self._enter(network_of(client))
        else:
            number = 0
        if self.url.partition(b"?")[0] == _HEALTH:
            return None
        if number > MAX_PER_ADDRESS:
            return GatewayProblem(
                429, "connections", f"More than {MAX_PER_ADDRESS:,} concurrent requests from one address.",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        if self._open.are_too_many:
            return unavailable("connections", "Too many requests are being answered. Try again later.", seconds=1)
        return None

    def _forwarded(self) -> str:
        """The client of a trusted proxy; "" where it names none."""
        values = [value.decode("latin-1") for name, value in self.headers if name == b"x-forwarded-for"]
        return address_of(self.client[0] if self.client else "localhost", ",".join(values)) if values else ""

    def _enter(self, address: str) -> int:
        self._address = address
        return self._open.enter(address, self)

    def _leave(self) -> None:
        if self._address:
            self._open.leave(self._address, self)
            self._address = ""
