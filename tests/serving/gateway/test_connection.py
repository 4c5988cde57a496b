"""Connections that are idle or slow are closed, and never keep others out."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from serving.gateway.intake import bodies
from serving.gateway.intake import connection as listener
from serving.gateway.intake.connection import Connection
from tests.servers import in_event_loop
from tests.serving.gateway.rig import release, route
from tests.serving.gateway.stand_in import Listening, listening

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
#: 401: a request that the gateway answers without a model
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "CHECK_SECONDS", 0.05)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Listening]:
    with listening(tmp_path, route(release(1))) as gateway:
        yield gateway


def connected(port: int, data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """A connection that has sent these bytes."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))
    if data:
        connection.sendall(data)
    return connection


def status(connection: socket.socket) -> int:
    """The status of the next answer on a connection; 0 where it was closed."""
    try:
        with connection.makefile("rb", buffering=0) as file:
            head = list(iter(lambda: file.readline().strip(), b""))
            length = next((int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length")), 0)
            while length:
                length -= len(file.read(length) or b"a")
    except ConnectionError:
        return 0
    return int(head[0].split(b" ")[1]) if head else 0


def ask(port: int, request: bytes, source: str = "127.0.0.1") -> int:
    """The status of a request on a connection of its own."""
    with connected(port, request, source) as connection:
        return status(connection)


def is_closed(connection: socket.socket, within: float = 20.0) -> bool:
    """Whether the server closes the connection in time."""
    connection.settimeout(within)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_a_header_has_to_arrive_in_time(gateway: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.2)
    with ExitStack() as stack:
        heads = (b"", b"GET", MODELS[:-2], b"GET /v1/models HTTP/1.1\r\nX-A: ")
        connections = [stack.enter_context(connected(gateway.port, head)) for head in heads]
        assert all(is_closed(connection) for connection in connections)
    assert ask(gateway.port, HEALTH) == 200


def test_a_connection_that_was_answered_may_wait_for_its_next_request(
    gateway: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.2)
    with connected(gateway.port, MODELS) as connection, connected(gateway.port) as idle:
        assert status(connection) == 401
        assert is_closed(idle)
        connection.sendall(MODELS)
        assert status(connection) == 401
        connection.sendall(b"GET /v1")  # the header of the next one has to arrive in time too
        assert is_closed(connection)


def test_a_header_byte_by_byte_does_not_extend_it(gateway: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "HEADER_SECONDS", 0.3)
    began = time.monotonic()
    with connected(gateway.port) as connection:
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /" + b"a" * 400:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert is_closed(connection)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\nX-A: ", (431, 0)),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-A: ", (401, 0)),
    ],
    ids=["header", "trailer"],
)
def test_a_header_or_trailer_has_a_maximum_size(gateway: Listening, head: bytes, statuses: tuple[int, ...]) -> None:
    with connected(gateway.port, head) as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(640):
                connection.sendall(b"a" * 2**14)
        assert status(connection) in statuses
        assert is_closed(connection)
    assert ask(gateway.port, HEALTH) == 200


def test_a_rejected_body_is_discarded_so_that_its_client_sees_why(gateway: Listening) -> None:
    body = b"a" * 5_000_000
    with connected(gateway.port, POST + b"Content-Length: %d\r\n\r\n" % len(body)) as connection:
        connection.sendall(body)
        assert status(connection) == 401
        connection.sendall(MODELS)
        assert status(connection) == 401


def test_discarding_large_bodies_takes_turns(gateway: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_DISCARDED", 500_000)
    body = b"a" * 2_000_000
    with connected(gateway.port, POST + b"Content-Length: %d\r\n\r\n" % len(body)) as connection:
        assert status(connection) == 401
        connection.sendall(body + MODELS)
        assert status(connection) == 401


@pytest.mark.parametrize(("token", "answer"), [(b"Authorization: Bearer good\r\n", 408), (b"", 401)])
def test_a_slow_body_is_given_up(
    gateway: Listening, monkeypatch: pytest.MonkeyPatch, token: bytes, answer: int
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(listener, "LINGER_SECONDS", 0.2)
    with connected(gateway.port, POST + token + b"Content-Length: 1000\r\n\r\na") as connection:
        assert status(connection) == answer
        assert is_closed(connection)


async def test_an_answer_that_is_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "STALLED_SECONDS", 0.2)
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        head = [(b"content-length", b"%d" % 2**26)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in range(64):
            await send({"type": "http.response.body", "body": b"a" * 2**20, "more_body": number < 63})
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        async with in_event_loop(app, server, http=Connection, ws="none"):
            _, writer = await asyncio.open_connection(*server.getsockname(), limit=1024)
            writer.write(HEALTH)
            await asyncio.wait_for(gone.wait(), 30)
            writer.close()


def test_too_many_connections_of_an_address_close_its_own(gateway: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_PER_ADDRESS", 20)
    with ExitStack() as stack:
        other = stack.enter_context(connected(gateway.port, MODELS, "127.0.0.9"))
        assert status(other) == 401
        idle = [stack.enter_context(connected(gateway.port)) for _ in range(60)]
        assert [ask(gateway.port, HEALTH) for _ in range(3)] == [200] * 3
        assert is_closed(idle[0])
        other.sendall(MODELS)
        assert status(other) == 401


def test_health_checks_are_answered_beside_too_many_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 30)
    with listening(tmp_path, route(release(1))) as gateway, ExitStack() as stack:
        for number in range(150):
            sent = (b"", b"GET /", MODELS)[number % 3]
            stack.enter_context(connected(gateway.port, sent, f"127.0.{number}.7"))
            if number % 10 == 0:
                assert ask(gateway.port, HEALTH) == 200
                assert ask(gateway.port, MODELS) == 401


def test_where_all_are_being_answered_only_health_checks_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "MAX_CONNECTIONS", 5)
    # The phase of a request that is being answered: none of these is closed for another one.
    monkeypatch.setattr(listener.Connection, "phase", lambda self: "work")
    with listening(tmp_path, route(release(1))) as gateway, ExitStack() as stack:
        for _ in range(5):
            assert status(stack.enter_context(connected(gateway.port, MODELS))) == 401
        assert ask(gateway.port, MODELS) == 503
        assert ask(gateway.port, HEALTH) == 200


def test_behind_a_trusted_proxy_its_client_is_counted(
    gateway: Listening, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.1"]
    monkeypatch.setattr(listener, "MAX_PER_ADDRESS", 3)
    open_head = POST + b"Authorization: Bearer good\r\nContent-Length: 1000\r\nX-Forwarded-For: %s\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(gateway.port, open_head % b"203.0.113.7"))

        def asked(client: bytes, path: bytes = b"/v1/models") -> int:
            return ask(gateway.port, b"GET %s HTTP/1.1\r\nHost: g\r\nX-Forwarded-For: %s\r\n\r\n" % (path, client))

        while asked(b"203.0.113.7") != 429:
            time.sleep(0.01)
        assert asked(b"203.0.113.7", b"/healthz") == 200
        assert [asked(b"203.0.113.8") for _ in range(8)] == [401] * 8
        # Addresses that a client writes itself do not count.
        assert asked(b"203.0.113.8, 203.0.113.7") == 429
    while asked(b"203.0.113.7") != 401:
        time.sleep(0.01)
