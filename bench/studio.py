"""A separate studio for a measurement: embedded servers, the web server as in production, one worker."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from bench.counting import HEADER
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

_CSRF = "b" * 32


@dataclass
class Studio:
    """The running servers: port of the web server, process id of the worker."""

    port: int
    worker: int


@contextlib.contextmanager
def studio(*, web_workers: int = 2, threads: int = 4, home: Path | None = None) -> Iterator[Studio]:
    """Starts servers, migrations, the web server and an RQ worker in a temporary folder; Django is set up on return.

    ``home``: a folder that stays, with its data.
    """
    for variable in ("SLM_HOME", "DATABASE_URL", "REDIS_URL"):
        os.environ.pop(variable, None)
    folder = home.absolute() if home is not None else Path(tempfile.mkdtemp(prefix="slm-bench-"))
    os.environ |= {"SLM_HOME": str(folder), "DJANGO_SETTINGS_MODULE": "bench.settings"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        with environment.servers():
            try:
                yield _start(started, web_workers, threads)
            finally:
                for process in started:
                    process.terminate()
                for process in started:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(20)
                from django.db import connections

                connections.close_all()
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


def _start(started: list[subprocess.Popen[bytes]], web_workers: int, threads: int) -> Studio:
    _manage("migrate", "--verbosity=0")
    # Collected, so that the server serves the compressed copies, as in production.
    _manage("collectstatic", "--noinput", "--verbosity=0")
    port = free_port()
    web = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{port}"]
    web += ["--workers", str(web_workers), "--threads", str(threads)]
    started.append(subprocess.Popen(web, cwd=ROOT))
    worker = [sys.executable, "manage.py", "rqworker", "imports", "default", "webhooks"]
    started.append(subprocess.Popen(worker, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    wait_for(port)
    import django

    django.setup()
    return Studio(port, started[1].pid)


def _manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


def free_port() -> int:
    """A free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(port: int, *, seconds: float = 180) -> None:
    """Waits until a server responds on a port of this machine."""
    for _ in range(int(5 * seconds)):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.2)
    raise SystemExit("The web server did not start.")


@dataclass
class Answer:
    """A response, its time to the last byte and its number of queries."""

    status: int
    body: bytes
    milliseconds: float
    queries: int

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Browser:
    """One user on one keep-alive connection."""

    def __init__(self, port: int, user: Any) -> None:
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
        from django.contrib.sessions.backends.db import SessionStore

        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.save()
        cookies = SimpleCookie({"sessionid": str(session.session_key), "csrftoken": _CSRF})
        self._headers = {"Cookie": cookies.output(header="", sep=";").strip(), "X-CSRFToken": _CSRF}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(self, path: str) -> Answer:
        """Requests a page."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any = None) -> Answer:
        """Posts JSON."""
        return self._ask("POST", path, json.dumps(body or {}).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
        start = time.perf_counter()
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        read = response.read()
        spent = (time.perf_counter() - start) * 1000
        return Answer(response.status, read, spent, int(response.headers.get(HEADER, 0)))

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
