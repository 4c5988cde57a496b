"""A web server for a test, and raw connections to it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import ROOT, worker_environment
from tests.stack.test_serve import free_port


@contextlib.contextmanager
def serving(
    command: Sequence[str], port: int, *, environment: dict[str, str] | None = None, ends_with: int = 0
) -> Iterator["subprocess.Popen[bytes]"]:
    """Runs a command that serves the test database at a port, until the end of the block; it must stop in order.

    ``ends_with``: its exit code then; uvicorn ends with the signal.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**worker_environment(), **(environment or {})},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                if answer(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"):
                    break
            assert process.poll() is None, "the web server ended"
            assert time.monotonic() < deadline, "the web server does not answer"
            time.sleep(0.1)
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == ends_with
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def server(*options: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """The web server with these options; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{port}", *options]
    with serving(command, port, environment=environment):
        yield port


def connect(port: int, timeout: float = 20, receive_buffer: int = 0) -> socket.socket:
    """A connection; with a small ``receive_buffer`` the server cannot leave its answer with the kernel."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(timeout)
    client.connect(("127.0.0.1", port))
    return client


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def answer(port: int, request: bytes) -> bytes:
    """The answer to a request that says ``Connection: close``; patient, as other programs may use the cores."""
    with connect(port, timeout=180) as client:
        client.sendall(request)
        return read_all(client)


def status(raw: bytes) -> int:
    """The status of an answer."""
    return int(raw.split(b" ", 2)[1])


def files_below(folder: Path) -> int:
    """Bytes of all files in a folder, also of those that are deleted and still open (Linux)."""
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link).startswith(f"{folder}/") and "(deleted)" in os.readlink(link):
                total += link.stat().st_size
    return total
