"""Two hundred slow clients do not delay others, however the web server is started."""

import contextlib
import re
import shlex
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from slmstudio.stack import serve
from tests.conftest import ROOT
from tests.stack.test_serve import free_port
from tests.stack.web import answer, connect, serving, status

GET = "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: {}\r\n\r\n"
# Django reads the body, because the token may be in it.
HALF_BODY = (
    f"POST /login/ HTTP/1.1\r\nHost: localhost\r\nCookie: csrftoken={'c' * 32}\r\nContent-Length: 5000\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\n\r\nusername="
)
# A server whose threads the slow clients hold answers after their time-out; a busy machine takes this long at most.
SERVED_SECONDS = 12.0
LARGE = "/static/vendor/vanilla-jsoneditor/standalone.js"


def as_in_demo(port: int) -> list[str]:
    return [*serve._web(port)]


def as_documented(port: int) -> list[str]:
    """The command of docs/production.md, at another port."""
    page = (ROOT / "docs/production.md").read_text()
    line = re.search(r"^    \.venv/bin/python (-m slmstudio\.server .*)$", page, re.MULTILINE)
    assert line is not None, "docs/production.md does not start the web server"
    assert "127.0.0.1:8000" in line[1]
    return [sys.executable, *shlex.split(line[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}"))]


@contextlib.contextmanager
def slow_clients(port: int, each: int = 67) -> Iterator[list[socket.socket]]:
    """Half a header, half a body, and an answer that is not read: ``each`` of them, all open at once."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(each):
            half = stack.enter_context(connect(port))
            half.sendall(b"GET /login/ HTTP/1.1\r\nHost: loc")
            body = stack.enter_context(connect(port))
            body.sendall(HALF_BODY.encode())
            reader = stack.enter_context(connect(port, receive_buffer=4096))
            reader.sendall(GET.format(LARGE, "keep-alive").encode())
            clients += [half, body, reader]
        yield clients


@pytest.mark.slow
@pytest.mark.parametrize("command", [as_in_demo, as_documented])
def test_slow_clients_do_not_block_others(transactional_db: None, queues: None, command: object) -> None:
    assert callable(command)
    port = free_port()
    with serving(command(port), port):
        for _ in range(16):  # every process has its templates
            assert status(answer(port, GET.format("/login/", "close").encode())) == 200
        assert slowest(port) < SERVED_SECONDS


def slowest(port: int) -> float:
    """Seconds of the slowest answer beside the slow clients."""
    with slow_clients(port) as clients:
        assert len(clients) > 200
        worst = 0.0
        for path in ("/healthz", "/login/") * 5:
            began = time.monotonic()
            assert status(answer(port, GET.format(path, "close").encode())) == 200
            worst = max(worst, time.monotonic() - began)
        print(f"slowest answer beside {len(clients)} slow clients: {1000 * worst:.0f} ms")
        return worst
