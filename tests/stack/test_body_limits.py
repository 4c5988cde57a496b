"""Large bodies are rejected before they are stored, unless the sender is authenticated and permitted."""

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.integrations import tokens
from labeling.models import ImportRun, Membership
from slmstudio.server.admission import KEY
from slmstudio.server.connection import Limits
from slmstudio.server.master import make_server, serve
from tests.labeling.desk import Desk, make_desk, person
from tests.stack.web import answer, connect, files_below, read_all, server, status

MEGABYTE = 2**20
CSRF = "c" * 32


@pytest.fixture
def desk(transactional_db: None, queues: None) -> Desk:
    return make_desk("bodies")


@pytest.fixture
def temp(tmp_path: Path) -> Path:
    folder = tmp_path / "temp"
    folder.mkdir()
    return folder


@pytest.fixture
def port(desk: Desk, temp: Path) -> Iterator[int]:
    with server("--workers", "1", environment={"TMPDIR": str(temp)}) as number:
        yield number


def signed_in(user: User) -> str:
    """The header of a person's cookies."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    cookies = SimpleCookie({"sessionid": str(session.session_key), "csrftoken": CSRF})
    return cookies.output(header="Cookie:", sep=";").replace(";Cookie:", ";")


def head(path: str, length: int | str, *lines: str) -> bytes:
    size = "Transfer-Encoding: chunked" if length == "chunked" else f"Content-Length: {length}"
    kind = "Content-Type: multipart/form-data; boundary=xyz"
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", kind, size, *lines, "", ""]).encode()


def form(file: bytes, name: str = "rows.jsonl") -> bytes:
    """A form with a file."""
    start = f'--xyz\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return start + file + b"\r\n--xyz--\r\n"


def send(client: socket.socket, data: bytes, pieces: int = 64) -> None:
    """As much as the server takes."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(pieces):
            client.sendall(data)


def rows(megabytes: float) -> bytes:
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    return line * int(megabytes * MEGABYTE / len(line))


def gone(temp: Path) -> bool:
    """Whether nothing is left in the temporary folder within a few seconds."""
    deadline = time.monotonic() + 5
    while files_below(temp) and time.monotonic() < deadline:
        time.sleep(0.05)
    return files_below(temp) == 0


@pytest.mark.slow
def test_large_bodies_require_a_login(port: int, temp: Path) -> None:
    for path, code in (("/login/", 413), ("/p/bodies/documents/import/", 413), ("/admin/login/", 413), ("/no", 404)):
        with connect(port) as client:
            client.sendall(head(path, 500 * MEGABYTE) + form(b"x" * MEGABYTE)[:MEGABYTE])
            send(client, b"x" * MEGABYTE, 8)
            assert files_below(temp) < MEGABYTE
            assert status(client.recv(1 << 16)) == code, path
        assert gone(temp)
    # a body of unknown length
    with connect(port) as client:
        client.sendall(head("/login/", "chunked"))
        send(client, b"10000\r\n" + b"x" * 65536 + b"\r\n", 64)
        assert status(client.recv(1 << 16)) == 413
    assert gone(temp)
    # a small one is read, and its file is passed over
    body = form(b"x" * 900_000)
    with connect(port) as client:
        client.sendall(head("/login/", len(body), "Connection: close") + body)
        assert status(read_all(client)) == 403  # CSRF
    assert gone(temp)
    # the REST interface
    with connect(port) as client:
        client.sendall(head("/api/v1/projects/bodies/imports", 500 * MEGABYTE, "Connection: close"))
        response = read_all(client)
    assert status(response) == 401
    assert b"application/problem+json" in response


@pytest.mark.slow
def test_body_limits_by_account(desk: Desk, port: int, temp: Path) -> None:
    body = form(rows(3))
    for role, path, length, code in (
        ("engineer", "documents/import/", len(body), 302),
        ("annotator", "documents/import/", len(body), 403),
        ("engineer", "documents/import/", 4000 * MEGABYTE, 413),
        ("engineer", "settings/", 30 * MEGABYTE, 413),
        ("outsider", "documents/import/", len(body), 404),
    ):
        user = desk.people.get(role) or person("outsider")
        lines = (signed_in(user), f"X-CSRFToken: {CSRF}", "Connection: close")
        with connect(port) as client:
            client.sendall(head(desk.url(path), length, *lines))
            if code == 302:
                client.sendall(body)
            assert status(read_all(client)) == code, (role, path)
        assert gone(temp)
    assert ImportRun.objects.count() == 1

    # a program that waits for the word to go on
    _, text = tokens.create(
        project=desk.project, user=desk.people["engineer"], name="upload", scopes=["import"], days=1
    )
    lines = (f"Authorization: Bearer {text}", "Expect: 100-continue", "Connection: close")
    with connect(port) as client:
        client.sendall(head("/api/v1/projects/bodies/imports", len(body), *lines))
        assert status(client.recv(1 << 16)) == 100
        client.sendall(body)
        assert status(read_all(client)) == 202
    with connect(port) as client:
        client.sendall(head("/api/v1/projects/bodies/imports", len(body), "Expect: 100-continue"))
        assert status(client.recv(1 << 16)) == 401


def test_only_an_import_by_a_member_is_admitted(desk: Desk) -> None:
    imports, page = "/api/v1/projects/bodies/imports", "/p/bodies/documents/import/"
    for who, method, path, code in (
        ("import token", "POST", imports, 204),
        ("engineer", "POST", imports, 204),
        ("read token", "POST", imports, 403),
        ("import token", "POST", "/api/v1/projects/other/imports", 404),
        ("annotator", "POST", imports, 403),
        ("outsider", "POST", imports, 404),
        ("nobody", "POST", imports, 401),
        ("import token", "GET", imports, 413),
        ("engineer", "POST", page, 204),
        ("engineer", "GET", page, 413),
        ("engineer", "PUT", page, 413),
        ("former member's token", "POST", imports, 404),
    ):
        client, headers = Client(), {}
        if "token" in who:
            scope = "read" if who == "read token" else "import"
            member = desk.people["engineer"]
            _, text = tokens.create(project=desk.project, user=member, name="upload", scopes=[scope], days=1)
            headers = {"Authorization": f"Bearer {text}"}
            if who.startswith("former"):
                Membership.objects.filter(project=desk.project, user=member).delete()
        elif who != "nobody":
            client.force_login(desk.people.get(who) or person(who))
        more: dict[str, Any] = {KEY: True, "CONTENT_LENGTH": str(1500 * MEGABYTE)}
        response = client.generic(method, path, b"", "multipart/form-data; boundary=xyz", headers=headers, **more)
        assert response.status_code == code, (who, method, path)


# -- time-outs ---------------------------------------------------------------------------------------------------------


UNFINISHED = [b"", b"GET / HTTP/1.1\r\nHos", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"]


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ.get("slmstudio.admission"):
        start_response("204 No Content", [("X-Admitted-Body", str(2**30))])
        return [b""]
    if environ["PATH_INFO"] == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(b"x" * 10)
        file.seek(0)
        start_response("200 OK", [("Content-Length", "10")])
        return environ["wsgi.file_wrapper"](file, 8192)
    if environ["PATH_INFO"] == "/stream":
        start_response("200 OK", [])
        return (b"x" * 5 for _ in range(2))
    if environ["PATH_INFO"] == "/large":  # a download that is made as it is sent
        start_response("200 OK", [])
        return (b"x" * MEGABYTE for _ in range(48))
    start_response("200 OK", [("Content-Length", "10")])
    return [b"x" * 10]


@pytest.fixture
def hasty() -> Iterator[int]:
    """A server of one thread whose time-outs are short."""
    with served(Limits(header=0.2, body=0.2, idle=0.3, stalled=0.2, rate=1000, linger=0.2)) as port:
        yield port


@contextlib.contextmanager
def served(limits: Limits, connections: int = 100) -> Iterator[int]:
    """A server of one thread; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = make_server(application, listener=listener, threads=1, connections=connections, limits=limits)
    made.adj.cleanup_interval = 0.1
    thread = threading.Thread(target=serve, args=(made,), kwargs={"stop_seconds": 1, "check_seconds": 0.05})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        made.stopping = True
        made.pull_trigger()
        thread.join(5)
        listener.close()


def test_stalled_requests_are_disconnected(hasty: int) -> None:
    with contextlib.ExitStack() as stack:
        clients = []
        for sent in (*UNFINISHED, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\nabc"):
            clients.append(stack.enter_context(connect(hasty, timeout=5)))
            clients[-1].sendall(sent)
        assert [client.recv(100) for client in clients] == [b""] * len(clients)


def test_slow_headers_are_disconnected(hasty: int) -> None:
    with connect(hasty, timeout=5) as client:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                client.sendall(b"X-A: b\r\n" if time.monotonic() - began > 0.01 else b"GET / HTTP/1.1\r\n")
                time.sleep(0.05)
        assert time.monotonic() - began < 25


def test_chunk_headers_are_bounded(hasty: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slmstudio.server.connection._MAX_CHUNK_LINE", 100, raising=False)
    for sent in (b"1" * 200, b"1;" + b"a" * 200, b"0\r\nX-A: " + b"b" * 200):
        with connect(hasty, timeout=5) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + sent)
            assert status(client.recv(1000)) == 400, sent


def test_bodies_are_buffered_in_a_file(temp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    with served(Limits()) as port, connect(port, timeout=5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 99_999)
        deadline = time.monotonic() + 20
        while files_below(temp) <= 65_536 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert files_below(temp) > 65_536


def test_expect_continue_without_a_body(hasty: int) -> None:
    with connect(hasty, timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert status(client.recv(1000)) == 200


def test_idle_connections_are_closed_at_the_limit() -> None:
    with served(Limits(), connections=12) as port, contextlib.ExitStack() as stack:
        for number in range(30):
            stack.enter_context(connect(port)).sendall(UNFINISHED[number % len(UNFINISHED)])
        with connect(port, timeout=5) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert status(client.recv(1000)) == 200


def test_clients_that_do_not_read_are_disconnected(hasty: int) -> None:
    with connect(hasty, timeout=5, receive_buffer=4096) as reader:
        reader.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        with connect(hasty, timeout=5) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert status(read_all(other)) == 200
        time.sleep(1.0)
        got = 0
        with contextlib.suppress(ConnectionError):
            got = len(read_all(reader))
        assert got < 48 * MEGABYTE


def test_keep_alive() -> None:
    with served(Limits(header=0.2, idle=30, linger=0.2)) as port, connect(port, timeout=5) as client:
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while not got.endswith(b"x" * 10):
                got += client.recv(1000)
            assert status(got) == 200
            time.sleep(0.3)


def test_head_has_no_body(hasty: int) -> None:
    for path, length in (("/", b"10"), ("/file", b"10"), ("/stream", b"")):
        requested = f"{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        header, _, body = answer(hasty, f"HEAD {requested}".encode()).partition(b"\r\n\r\n")
        assert (status(header), body) == (200, b""), path
        assert (b"Content-Length: " + length in header) == bool(length), path
        assert answer(hasty, f"GET {requested}".encode()).count(b"x") == 10, path
