"""One connection: its time-outs, and the admission of large bodies."""

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer, UnixWSGIServer
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error

from slmstudio.server.admission import FREE_BODY, RejectedRequest, check_admission
from slmstudio.server.headers import plain_headers

logger = logging.getLogger(__name__)
#: phases of connections that are closed first if there are too many
_ENDED_FIRST = ("idle", "header", "body")
#: bytes of the line before a chunk, and of the trailer after the last one
_MAX_CHUNK_LINE = 8192


@dataclass(frozen=True)
class Limits:
    """Time-outs in seconds, rates in bytes per second.

    ``header`` is for a whole header, ``body`` for a body of at most ``FREE_BODY``; larger bodies and responses may take
    any time while they transfer at ``rate``, measured over ``stalled`` seconds. ``linger`` is how long a rejected body
    is read and discarded, so that the client sees the response.
    """

    header: float = 15.0
    body: float = 120.0
    idle: float = 60.0
    stalled: float = 30.0
    rate: float = 100.0
    linger: float = 10.0


class _TooLarge(Error):
    code = 413
    reason = "Content Too Large"


class Parser(HTTPRequestParser):
    """Stops a chunked body at the admitted size; a Content-Length is checked before the first byte of the body."""

    admitted: int | None = None
    error: Any

    def received(self, data: bytes) -> int:
        """As in waitress."""
        consumed: int = super().received(data)
        receiver: Any = self.body_rcv
        if self.chunked and receiver is not None and not self.error:
            line = max(len(receiver.control_line), len(receiver.trailer))
            if line > _MAX_CHUNK_LINE:  # waitress has no limit
                self.error = BadRequest(f"The size of a chunk or the trailer is longer than {_MAX_CHUNK_LINE:,} bytes.")
                self.completed = True
        if self.admitted is not None and self.body_bytes_received > self.admitted and not self.error:
            self.error = _TooLarge(f"The body is larger than {self.admitted:,} bytes.")
            self.completed = True
        return consumed

    @property
    def needs_admission(self) -> bool:
        """Whether the rest of the body waits for admission."""
        if self.admitted is not None or self.completed or not self.headers_finished:
            return False
        return bool(max(self.content_length, self.body_bytes_received) > FREE_BODY)


class _NoFile:
    """The file wrapper of a request whose body is not read."""

    def __init__(self, file: Any, block_size: int = 0) -> None:
        self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class Task(WSGITask):
    """Sends no body in response to HEAD, whatever the application returns; waitress leaves that to applications."""

    def get_environment(self) -> dict[str, Any]:
        """As in waitress."""
        environ: dict[str, Any] = super().get_environment()
        if self.request.command == "HEAD":
            environ["wsgi.file_wrapper"] = _NoFile
        return environ

    def write(self, data: bytes) -> None:
        """As in waitress."""
        super().write(b"" if self.request.command == "HEAD" else data)

    def finish(self) -> None:
        """As in waitress."""
        if self.request.command == "HEAD":
            if not self.wrote_header:
                self.write(b"")
            self.chunked_response = False
        super().finish()


class Failure(ErrorTask):
    """An error of the server itself has the headers of the application's responses."""

    def build_response_header(self) -> bytes:
        """As in waitress."""
        named = {name.lower() for name, _ in self.response_headers}
        self.response_headers += [pair for pair in plain_headers().items() if pair[0].lower() not in named]
        return bytes(super().build_response_header())


class _Admission:
    """A task that asks the application whether the body of a request may be read."""

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel

    def service(self) -> None:
        """Runs in an application thread."""
        channel, request = self.channel, self.channel.request
        try:
            answer = check_admission(channel.server.application, WSGITask(channel, request).get_environment())
        except Exception:
            logger.exception("asking whether a body of %s is read", request.path)
            answer = RejectedRequest(
                "500 Internal Server Error", [("Content-Type", "text/plain; charset=utf-8")], b"The server failed."
            )
        with channel.requests_lock:
            channel.asking = False
            if isinstance(answer, RejectedRequest):
                request.error = answer
                request.completed = True
                channel.request = None
                channel.requests.append(request)
                if len(channel.requests) == 1:
                    channel.server.add_task(channel)
            else:
                request.admitted = answer
                if request.expect_continue and not channel.requests:
                    channel.send_continue()
        channel.server.pull_trigger()

    def cancel(self) -> None:
        """As waitress ends waiting tasks."""
        self.channel.cancel()


class Channel(HTTPChannel):
    """A connection with time-outs."""

    parser_class = Parser
    task_class = Task
    error_task_class = Failure
    server: "Server"
    # of waitress, which has no types
    request: Any
    requests: list[Any]
    will_close: bool
    close_when_flushed: bool
    total_outbufs_len: int

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.asking = False
        self.refused = False
        self.linger_until = 0.0
        self.served = 0
        self.moved = 0
        self._phase = ("", 0)
        self._since = time.monotonic()
        self._window = (self._since, 0)
        super().__init__(*arguments, **keywords)

    # -- reading and writing -------------------------------------------------------------------------------------------

    def recv(self, buffer_size: int) -> bytes:
        """Counts."""
        data: bytes = super().recv(buffer_size)
        self.moved += len(data)
        return data

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Counts."""
        sent = int(super().send(data, do_close) or 0)
        self.moved += sent
        return sent

    def readable(self) -> bool:
        """Not while the application decides about a large body."""
        if self.linger_until:
            return not self.will_close
        return not self.asking and bool(super().readable())

    def writable(self) -> bool:
        """As in waitress."""
        return bool(self.will_close if self.linger_until else super().writable())

    def handle_read(self) -> None:
        """Data after a rejection is discarded."""
        if self.linger_until:
            self.recv(1 << 18)  # closes when the client has
        else:
            super().handle_read()

    def received(self, data: bytes) -> bool:
        """Asks for admission as soon as a body is known to be large."""
        taken = bool(super().received(data))
        with self.requests_lock:
            request = self.request
            if request is not None and request.needs_admission and not self.asking:
                self.asking = True
                self.server.add_task(_Admission(self))
        return taken

    def send_continue(self) -> None:
        """Not before the body is admitted, nor if there is none: waitress would wait for it."""
        if not self.request.error and not self.request.needs_admission and not self.request.completed:
            super().send_continue()

    def service(self) -> None:
        """As in waitress; records whether the body was read completely."""
        self.refused = self.refused or self.requests[0].error is not None
        super().service()
        self.served += 1

    def handle_write(self) -> None:
        """After a rejection only the write side is closed: a reset would lose the response of a client that still
        sends.
        """
        if self.refused and self.close_when_flushed and not self.will_close:
            self._flush_exception(self._flush_some)
            if not self.total_outbufs_len and not self.will_close and self.connected:
                self.linger_until = time.monotonic() + self.server.limits.linger
                self.close_when_flushed = False
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    self.will_close = True
            return
        super().handle_write()

    # -- time-outs -----------------------------------------------------------------------------------------------------

    def is_timed_out(self, now: float) -> bool:
        """Whether the client has timed out; called about once a second."""
        if self.linger_until:
            return now > self.linger_until
        phase = self._phase_now()
        if (phase, self.served) != self._phase:
            self._phase, self._since, self._window = (phase, self.served), now, (now, self.moved)
        limits, spent = self.server.limits, now - self._since
        match phase:
            case "work":
                return False
            case "idle":
                return bool(time.time() - self.last_activity > limits.idle)
            case "header":
                return spent > limits.header
            case "body":
                return spent > limits.body
        begun, moved = self._window
        if now - begun < limits.stalled:
            return False
        self._window = (now, self.moved)
        return self.moved - moved < limits.rate * (now - begun)

    def _phase_now(self) -> str:
        request = self.request
        if self.total_outbufs_len:
            return "write"
        if self.requests or self.asking:
            return "work"
        if request is None:
            # A new connection has to send a request soon; one that was answered may wait for the next click.
            return "idle" if self.served else "header"
        if not request.headers_finished:
            return "header"
        return "large body" if request.admitted is not None else "body"


class _Timed:
    """The common part of both kinds of servers below."""

    channel_class = Channel
    limits: Limits
    stopping = False
    active_channels: dict[int, Channel]
    # of waitress
    adj: Any
    _map: dict[int, Any]

    def maintenance(self, now: float) -> None:
        """Ends connections that have timed out; waitress calls it once per ``cleanup_interval``."""
        moment = time.monotonic()
        for channel in [*self.active_channels.values()]:
            if channel.is_timed_out(moment):
                channel.will_close = True
        self._make_room()

    def _make_room(self) -> None:
        """At the connection limit, closes a quarter of the limit: those that cost a client least, the oldest first; the
        server then continues to accept.
        """
        limit = self.adj.connection_limit
        if len(self._map) < limit:
            return
        waiting = [
            (_ENDED_FIRST.index(phase), channel.last_activity if phase == "idle" else channel.creation_time, channel)
            for channel in self.active_channels.values()
            if (phase := channel._phase_now()) in _ENDED_FIRST
        ]
        waiting.sort(key=lambda row: row[:2])
        for _, _, channel in waiting[: len(self._map) - limit + max(1, limit // 4)]:
            channel.will_close = True

    def busy(self) -> bool:
        """Whether a request is being processed, or a response is not sent yet."""
        return any(
            channel.requests or channel.total_outbufs_len or channel.asking for channel in self.active_channels.values()
        )


class TcpServer(_Timed, TcpWSGIServer):
    """On an address and port."""


class UnixServer(_Timed, UnixWSGIServer):
    """On a UNIX socket."""


Server = TcpServer | UnixServer
