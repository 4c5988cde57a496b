"""What the gateway adds to a replica that answers at once: ``python -m bench.serving``.

Real processes: PostgreSQL, Valkey, one gateway process, one replica, one process that sends requests, 1, 50 and 200 at
once, at 200 requests a second and as fast as they are answered, and the same requests to the replica alone.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from bench.studio import free_port, studio, wait_for
from bench.timing import percentile, table
from labeling.demo.samples import generate
from slmstudio.stack.environment import ROOT

#: connections, and requests a second over all of them (0: as fast as they are answered)
LOADS = ((1, 0.0), (50, 200.0), (200, 200.0), (50, 0.0), (200, 0.0))


def main() -> None:
    """Starts everything, measures, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="of each row")
    parser.add_argument("--memory", type=int, default=0, help="further requests, to see that memory stays flat")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-serving-") as folder, studio(web_workers=1) as _:
        socket = f"unix:{folder}/replica.sock"
        token = _rows(socket)
        body = Path(folder) / "body.json"
        body.write_text(json.dumps({"text": next(iter(generate(1, 17))).text}))
        port = free_port()
        environment = {**os.environ, "API_REQUESTS_PER_MINUTE": "100000000"}
        backend = subprocess.Popen([sys.executable, "-m", "bench.serving_load", "replica", socket], cwd=ROOT)
        gateway = subprocess.Popen(
            [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}"], cwd=ROOT, env=environment
        )
        try:
            wait_for(port)
            time.sleep(3)
            _measure(port, socket, token, body, options.requests)
            if options.memory:
                _memory(gateway.pid, port, token, body, options.memory)
        finally:
            for process in (gateway, backend):
                process.terminate()
                process.wait(20)


def _measure(port: int, socket: str, token: str, body: Path, number: int) -> None:
    path = "/api/v1/projects/bench/extract"
    rows = []
    for concurrent, rate in LOADS:
        alone = _send(socket, "/answer", concurrent, rate, number, token, body)
        through = _send(f"http://127.0.0.1:{port}", path, concurrent, rate, number, token, body)
        values = [f"{percentile(found['times'], share):.2f}" for found in (alone, through) for share in (0.5, 0.99)]
        added = [
            f"{percentile(through['times'], share) - percentile(alone['times'], share):.2f}" for share in (0.5, 0.99)
        ]
        pace = f"{rate:g}/s" if rate else "full"
        rows.append(
            (f"{concurrent}, {pace}", *values, *added, f"{number / through['seconds']:.0f}", str(through["failed"]))
        )
    heads = ("at once", "alone p50", "p99", "gateway p50", "p99", "added p50", "p99", "requests/s", "failed")
    print(table("Gateway over a replica that answers at once, ms", heads, rows))


def _memory(pid: int, port: int, token: str, body: Path, number: int) -> None:
    process, rows = psutil.Process(pid), []
    for part in range(5):
        rows.append((f"{part * number // 4:,}", f"{process.memory_info().rss / 2**20:.0f}"))
        if part < 4:
            _send(f"http://127.0.0.1:{port}", "/api/v1/projects/bench/extract", 50, 0.0, number // 4, token, body)
    print(table("Memory of the gateway after so many more requests, MiB", ("requests", "resident"), rows))


def _send(address: str, path: str, concurrent: int, rate: float, number: int, token: str, body: Path) -> dict[str, Any]:
    options = (address, path, str(concurrent), str(number), str(rate), token, str(body))
    command = [sys.executable, "-m", "bench.serving_load", *options]
    found: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return found


def _rows(address: str) -> str:
    """A project whose release this address answers for; returns a token."""
    from django.utils import timezone

    from serving.models import Replica

    token, release = deployed()
    Replica.objects.create(
        release=release, host="bench", slot=0, state="ready", address=address,
        heartbeat_at=timezone.now() + timedelta(days=1),
    )  # fmt: skip
    return token


def deployed(**changes: Any) -> tuple[str, Any]:
    """A token, and the stable release of a project; ``changes`` of its deployment."""
    from django.contrib.auth import get_user_model

    from evaluation.models import EvalRun
    from labeling.integrations import tokens
    from labeling.models import DatasetVersion
    from labeling.projects.services import create_project
    from serving.models import Deployment, Package, Release
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
    Deployment.objects.create(project=project, stable=release, **{"max_queue": 1_000, **changes})
    _, text = tokens.create(project=project, user=user, name="bench", scopes=["extract"], days=None)
    return text, release


if __name__ == "__main__":
    main()
