"""What benchmarks share: statistics and tables, processes, a separate studio, a deployed version, child processes."""

import contextlib
import http.client
import json
import multiprocessing
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import psutil

from slmstudio.stack import environment, lifecycle
from slmstudio.storage.installation import ROOT

#: texts and gold values of SROIE
RECEIPTS = ROOT.parent / "shared/data/sroie/receipts.jsonl"
#: where callers of the deployed version send documents
EXTRACT = "/api/v1/projects/bench/extract"
#: the header with the number of queries of a response (``bench.settings``)
QUERIES = "X-Queries"
_CSRF = "b" * 32


# -- statistics and tables ---------------------------------------------------------------------------------------------


@dataclass
class Samples:
    """Times of one operation in milliseconds, and the queries of each."""

    name: str
    target_ms: float | None = None
    times: list[float] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)

    def add(self, milliseconds: float, queries: int) -> None:
        """Adds one measurement."""
        self.times.append(milliseconds)
        self.queries.append(queries)

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def p95(self) -> float:
        """The 95th percentile: the smallest time that 95% of the measurements stay within."""
        return percentile(self.times, 0.95)

    def as_dict(self) -> dict[str, float | int | str | None]:
        """For JSON."""
        return {
            "name": self.name,
            "n": len(self.times),
            "median_ms": round(self.median, 2),
            "p95_ms": round(self.p95, 2),
            "worst_ms": round(max(self.times), 2),
            "queries": int(statistics.median(self.queries)),
            "most_queries": max(self.queries),
            "target_ms": self.target_ms,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A text table with the first column left-aligned, the others right-aligned."""
    lines = [list(heads), *[list(row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]

    def shown(line: list[str]) -> str:
        first, *rest = (
            cell.ljust(width) if not i else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join([first, *rest])

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([title, shown(lines[0]), rule, *[shown(line) for line in lines[1:]], ""])


# -- processes ---------------------------------------------------------------------------------------------------------


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


@contextlib.contextmanager
def running(
    *command: str, variables: Mapping[str, str] | None = None, quiet: bool = False, folder: Path = ROOT
) -> Iterator[psutil.Process]:
    """A process in a folder during the block, with more environment variables."""
    output = subprocess.DEVNULL if quiet else None
    own = {**os.environ, **(variables or {})}
    process = subprocess.Popen(command, cwd=folder, env=own, stdout=output, stderr=output)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """Another process computes during the block."""
    working = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    working.start()
    time.sleep(1)
    try:
        yield
    finally:
        working.kill()
        working.join()


def _spin() -> None:
    while True:
        sum(range(10_000))


# -- a separate studio -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stack(settings: str = "slmstudio.settings", **variables: str) -> Iterator[lifecycle.Running]:
    """Starts the servers in a temporary folder and migrates; Django is set up on return, with these settings."""
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    with tempfile.TemporaryDirectory(prefix="slm-bench-", ignore_cleanup_errors=True) as folder:
        os.environ |= {
            "SLM_HOME": folder,
            "DJANGO_SETTINGS_MODULE": settings,
            "SECRET_KEY": "abcdefgh" * 4,
            **variables,
        }
        with environment.servers() as servers:
            assert servers is not None
            # In a process of its own, which owns the tables.
            manage("migrate", "--verbosity=0")
            os.environ.pop("DATABASE_OWNER_URL", None)
            import django

            django.setup()
            try:
                yield servers
            finally:
                from django.db import connections

                connections.close_all()


def set_up_django() -> None:
    """Sets Django up without servers, for benchmarks of functions whose modules need the models."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
    for variable, value in (("DATABASE_URL", "postgresql://none/none"), ("REDIS_URL", "redis://none")):
        os.environ.setdefault(variable, value)
    os.environ.setdefault("SECRET_KEY", "abcdefgh" * 4)
    django.setup()


def manage(*arguments: str) -> None:
    """Runs a command of ``manage.py``."""
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, check=True)


@dataclass
class Studio:
    """The running servers: port of the web server, process ids of the worker and the web server."""

    port: int
    worker: int
    web: int


@contextlib.contextmanager
def studio(*, web_workers: int = 2, threads: int = 4) -> Iterator[Studio]:
    """A stack with the web server as in production and an RQ worker."""
    with stack("bench.settings"):
        # Collected, so that the server serves the compressed copies, as in production.
        manage("collectstatic", "--noinput", "--verbosity=0")
        port = free_port()
        web = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{port}"]
        web += ["--workers", str(web_workers), "--threads", str(threads)]
        worker = (sys.executable, "manage.py", "rqworker", "imports", "default", "webhooks")
        with running(*web) as server, running(*worker, quiet=True) as process:
            wait_for(port)
            yield Studio(port, process.pid, server.pid)


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
        from django.conf import settings
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
        from django.contrib.sessions.backends.db import SessionStore

        session = SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]
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
        return Answer(response.status, read, spent, int(response.headers.get(QUERIES, 0)))

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


# -- a deployed version ------------------------------------------------------------------------------------------------


def deployed(*, address: str = "", **changes: Any) -> tuple[str, Any]:
    """A token, and the stable release of a project, for which ``address`` answers; ``changes`` of its deployment."""
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    from evaluation.models import EvalRun
    from labeling.integrations import tokens
    from labeling.models import DatasetVersion
    from labeling.projects.services import create_project
    from serving.models import Deployment, Package, Release, Replica
    from training.models import BaseModel

    user = get_user_model().objects.create_user("ana", password=secrets.token_hex(8))
    project = create_project(owner=user, name="Bench", slug="bench", template="invoice")
    dataset = DatasetVersion.objects.create(
        project=project, number=1, schema_version=project.schema_version, created_by=user, seed=17
    )
    model = BaseModel.objects.create(slug="bench", name="Bench", source=BaseModel.Source.FOLDER, location="none")
    run = EvalRun.objects.create(project=project, number=1, dataset=dataset, base_model=model, status="done")
    package = Package.objects.create(
        project=project, number=1, eval_run=run, engine="transformers", status="done", sha256="0" * 64
    )
    release = Release.objects.create(project=project, number=1, package=package)
    Deployment.objects.create(project=project, stable=release, **{"max_queue": 4_000, **changes})
    if address:
        Replica.objects.create(
            release=release, host="bench", slot=0, state="ready", address=address,
            heartbeat_at=timezone.now() + timedelta(days=1),
        )  # fmt: skip
    _, text = tokens.create(project=project, user=user, name="bench", scopes=["extract"], days=None)
    return text, release


# -- child processes of a worker ---------------------------------------------------------------------------------------


def child_events(module: str, argument: str, more: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """The events of a child process, with ``more`` in its environment; SystemExit with its last output if it fails."""
    environment = {**(more or {}), **os.environ}
    with tempfile.TemporaryFile("w+") as words:
        command = [sys.executable, "-m", module, argument]
        with subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            start_new_session=True,  # as the supervisor does: the kernel shares cores out between sessions
        ) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith('{"event"'):  # transformers prints its logs as well
                    event = json.loads(line)
                    if event["event"] == "error":
                        raise SystemExit(f"{module}: {event['message']}")
                    yield event
        if child.returncode:
            words.seek(0)
            raise SystemExit(f"{module} ended with {child.returncode}: {words.read()[-2000:]}")


def prepared(name: str, home: Path) -> Path:
    """The folder of a packaged model, prepared under ``home`` where missing."""
    from training.spec import PrepareSpec

    folder = home / "models" / name
    if not folder.is_dir():
        spec = home / f"prepare-{name}.yaml"
        home.mkdir(parents=True, exist_ok=True)
        spec.write_text(PrepareSpec(kind="packaged", source=name, output_dir=str(folder)).to_yaml(), encoding="utf-8")
        list(child_events("training.ml.prepare", str(spec)))
    return folder


def receipts(path: Path) -> list[dict[str, Any]]:
    """The receipts of a file that have a value of every field."""
    from labeling.demo.templates import template

    fields = template("receipt").schema["properties"]
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if len(row["gold"]) == len(fields)]


def write_dataset(path: Path, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Writes rows as the file of a frozen dataset."""
    lines = [
        json.dumps({"id": row["id"], "split": split, "text": row["text"], "gold": row["gold"]}) + "\n"
        for split, rows in splits.items()
        for row in rows
    ]
    path.write_text("".join(lines), encoding="utf-8")
