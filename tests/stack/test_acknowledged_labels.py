"""Labels that were acknowledged outlive kill -9 of the web server, one of its processes, and PostgreSQL."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from slmstudio import stack
from slmstudio.stack.paths import Paths
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.processes import descendants
from tests.conftest import ROOT
from tests.stack.test_serve import free_port

PROJECT = """
import json, django
django.setup()
from django.contrib.auth.models import User
from labeling.integrations import tokens
from labeling.models import Document
from labeling.projects.services import create_project
owner = User.objects.create_user("ana", password=None)
project = create_project(owner=owner, name="Bills", slug="bills", template="invoice")
documents = [
    Document.objects.create(project=project, external_id=str(n), text=f"Invoice {n}", sha256=f"{n:064}").pk
    for n in range(4)
]
print(json.dumps([tokens.create(project=project, user=owner, name="t", scopes=["label"], days=None)[1], documents]))
"""


class Writers:
    """A program for each document that saves numbers, one after the other, and again until it is acknowledged."""

    def __init__(self, port: int, token: str, documents: list[int]) -> None:
        self.address = f"http://127.0.0.1:{port}/api/v1/projects/bills/documents"
        self.headers = {"Authorization": f"Bearer {token}"}
        self.acknowledged: dict[int, list[str]] = {document: [] for document in documents}
        self.errors = 0
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.write, args=(document,)) for document in documents]
        for thread in self.threads:
            thread.start()

    def write(self, document: int) -> None:
        version = 0
        for number in itertools.count():
            value = f"{document}-{number}"
            if self.stopped.is_set():
                return
            body = {"value": {"invoice_id": value}, "base_version": version}
            try:
                answer = httpx.put(f"{self.address}/{document}/draft", json=body, headers=self.headers, timeout=20)
            except httpx.TransportError:
                answer = None
            if answer is None or answer.status_code != 200:
                self.errors += 1
                time.sleep(0.1)
                continue
            version = answer.json()["version"]
            self.acknowledged[document].append(value)

    def wait_for_more(self) -> None:
        """Until each document has some more acknowledged saves."""
        before = {document: len(values) for document, values in self.acknowledged.items()}
        deadline = time.monotonic() + 90
        while any(len(values) < before[document] + 5 for document, values in self.acknowledged.items()):
            assert time.monotonic() < deadline, "saves are not acknowledged"
            time.sleep(0.05)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.slow
def test_acknowledged_labels_outlive_kill_9(home: Path) -> None:
    places = Paths.of(home)
    with contextlib.ExitStack() as servers:
        first = stack.start(home)
        servers.callback(stack.stop, first)
        environment = {
            **os.environ, "DATABASE_URL": first.database_url, "REDIS_URL": first.redis_url, "SLM_HOME": str(home)
        }  # fmt: skip
        owner = {**environment, "DATABASE_OWNER_URL": places.database_owner_url}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=owner, check=True)
        made = subprocess.run(
            [sys.executable, "-c", PROJECT], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE
        )
        token, documents = json.loads(made.stdout.splitlines()[-1])
        port = free_port()

        def web() -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "slmstudio.server", "--bind", f"127.0.0.1:{port}", "--workers", "2"]
            return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)

        def kill_a_process() -> None:
            descendants(running[0].pid)[0].kill()

        def kill_the_web_server() -> None:
            running[0].kill()
            running[0].wait()
            running[0] = web()

        def kill_postgres() -> None:
            process = Postgres(places).running()
            assert process is not None
            process.kill()
            servers.callback(stack.stop, stack.start(home))

        running = [web()]
        writers = Writers(port, token, documents)
        try:
            writers.wait_for_more()
            for fault in (kill_a_process, kill_postgres, kill_the_web_server):
                fault()
                writers.wait_for_more()
        finally:
            writers.stop()
            running[0].terminate()
            running[0].wait(30)
        with psycopg.connect(places.database_owner_url) as connection:
            rows = connection.execute("SELECT value->>'invoice_id' FROM labeling_annotationrevision").fetchall()
    assert writers.errors, "no save met a fault"
    kept = {row[0] for row in rows}
    assert [value for values in writers.acknowledged.values() for value in values if value not in kept] == []
