"""Everything at once for a long time: ``python -m bench.soak [--seconds 3600]``.

50 people label in a project of 100,000 documents, 100,000 more are imported into another, SmolLM2 135M is trained and
evaluated again and again, and the gateway gets 20 requests a second for a replica that answers at once. Real processes
on one machine. Prints times and failures of each, memory of the processes over time, and whether everything that was
acknowledged is in the database; the exit code is 1 where something failed or is missing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.harness import EXTRACT, deployed, free_port, percentile, running, studio, table, wait_for
from bench.labeling import Bench, together
from bench.serving import send
from labeling.demo.samples import generate
from slmstudio.contract.json_text import dumps
from slmstudio.storage.installation import ROOT

#: at most this, p95 in milliseconds, for the annotators; requests a second to the gateway
TARGET, RATE = 200.0, 20.0
_ANNOTATORS, _DOCUMENTS = 50, 100_000
#: how often memory is read; and how long the store of the request log may need at the end
_READ_SECONDS, _STORED_SECONDS = 30.0, 60.0


def main() -> int:
    """Starts everything, waits, counts; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--pause", type=float, default=5.0, help="mean seconds between two saves of an annotator")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-soak-") as folder, studio() as started:
        project, more = Bench(started, _DOCUMENTS, 0), Bench(started, _DOCUMENTS + 1, 0)
        project.load()
        socket, port = f"unix:{folder}/replica.sock", free_port()
        token, _ = deployed(address=socket)
        gateway = (sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}")
        limits = {"API_REQUESTS_PER_MINUTE": "1000000"}
        with (
            running(sys.executable, "-m", "bench.serving_load", "replica", socket),
            running(*gateway, variables=limits) as gateway_process,
            running(sys.executable, "manage.py", "periodic") as periodic,
        ):
            wait_for(port)
            time.sleep(3)  # until the gateway has read its routes
            trees = {
                "web": started.web,
                "worker": started.worker,
                "gateway": gateway_process.pid,
                "periodic": periodic.pid,
            }
            soak = Soak(options.seconds, Path(folder), trees)
            soak.start(soak.read_memory)
            soak.start(soak.train)
            soak.start(lambda: soak.ask(f"http://127.0.0.1:{port}", token))
            soak.start(lambda: soak.results.update(imported=more.load()))
            figures, failed = together(project, _ANNOTATORS, options.seconds, options.pause)
            soak.join()
            missing = soak.missing(project, figures["submitted"])
    print(table("Memory, MiB", ("after", *soak.memory[0][1]), soak.memory_rows()))
    print(json.dumps({**figures, **soak.results, "missing": missing, "errors": soak.errors}, indent=1))
    slow = figures["p95_ms"] > TARGET
    return 1 if failed or slow or soak.errors or soak.results["requests_failed"] or any(missing.values()) else 0


@dataclass
class Soak:
    """What goes on next to the annotators. ``trees``: process ids whose trees are measured, by name."""

    seconds: float
    folder: Path
    trees: dict[str, int]
    results: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    memory: list[tuple[float, dict[str, int]]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self.began

    def start(self, work: Callable[[], Any]) -> None:
        """Starts a part in a thread; its error is one of the soak."""

        def part() -> None:
            from django.db import connections

            try:
                work()
            except (Exception, SystemExit) as error:
                self.errors.append(repr(error))
            finally:
                connections.close_all()

        self.threads.append(threading.Thread(target=part))
        self.threads[-1].start()

    def join(self) -> None:
        """Waits for all parts."""
        for thread in self.threads:
            thread.join()

    def ask(self, url: str, token: str) -> None:
        """Requests to the gateway at a fixed rate."""
        body = self.folder / "body.json"
        body.write_text(json.dumps({"text": next(iter(generate(1, 17))).text}))
        sent = send(url, EXTRACT, int(RATE), RATE, int(self.seconds * RATE), token, body)
        self.results |= {
            "requests": len(sent["times"]),
            "requests_failed": sent["failed"],
            "requests_p95_ms": round(percentile(sent["times"], 0.95), 1),
        }

    def train(self) -> None:
        """The pipeline on the command line, once after the other: a training and four evaluations each."""
        rows = self.folder / "rows.jsonl"
        lines = [dumps({"id": s.external_id, "text": s.text, "gold": s.gold}) + "\n" for s in generate(200, 18)]
        rows.write_text("".join(lines))
        command = [
            sys.executable,
            "manage.py",
            "run_loop",
            "--template",
            "invoice",
            "--train",
            str(rows),
            "--epochs",
            "1",
        ]
        self.results["pipelines"] = 0
        while not self.results["pipelines"] or self.spent < self.seconds * 0.8:
            with (self.folder / "pipeline.log").open("w+") as output:
                code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode
                output.seek(0)
                if code:
                    raise RuntimeError(f"run_loop ended with {code}: {output.read()[-2000:]}")
            self.results["pipelines"] += 1

    def read_memory(self) -> None:
        """Proportional memory of the process trees and of the servers."""
        while self.spent < self.seconds:
            sizes = {name: _tree_megabytes(pid) for name, pid in self.trees.items()}
            self.memory.append((self.spent, {**sizes, "servers": _servers_megabytes()}))
            time.sleep(_READ_SECONDS)

    def memory_rows(self) -> list[tuple[str, ...]]:
        """Some ten of the readings as cells."""
        step = max(1, len(self.memory) // 10)
        return [(f"{at / 60:.0f} min", *map(str, sizes.values())) for at, sizes in self.memory[::step]]

    def missing(self, project: Bench, submitted: int) -> dict[str, int]:
        """Acknowledged labels, and answered requests, that are not in the database."""
        from labeling.models import Annotation
        from serving.models import RequestLog

        labels = Annotation.objects.filter(
            project=project.project, user__username__startswith="annotator-", submitted=True
        )
        logged = RequestLog.objects.filter(status=200)
        deadline = time.monotonic() + _STORED_SECONDS
        while logged.count() < self.results["requests"] and time.monotonic() < deadline:
            time.sleep(1)
        return {"labels": submitted - labels.count(), "requests": self.results["requests"] - logged.count()}


def _tree_megabytes(pid: int) -> int:
    """Proportional set size of a process and its descendants, MiB."""
    try:
        parent = psutil.Process(pid)
        return sum(_megabytes(process) for process in (parent, *parent.children(recursive=True)))
    except psutil.Error:
        return 0


def _servers_megabytes() -> int:
    """Of the embedded PostgreSQL and Valkey of this benchmark, which work in its folder."""
    total = 0
    for process in psutil.process_iter():
        try:
            inside = process.cwd().startswith(os.environ["SLM_HOME"])
        except psutil.Error:
            continue
        total += _megabytes(process) if inside else 0
    return total


def _megabytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss) >> 20
    except psutil.Error:
        return 0


if __name__ == "__main__":
    sys.exit(main())
