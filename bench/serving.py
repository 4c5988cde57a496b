"""What the gateway adds to a replica that answers at once: ``python -m bench.serving [--litellm PATH] [--memory N]``.

Real processes: PostgreSQL, Valkey, one gateway process, one replica, one process that sends requests, 1, 50 and 200 at
once at 200 requests a second, and 1 to 1,000 at once as fast as they are answered; and the same requests to the replica
alone. ``--busy``: the rows at 200 requests a second again, with a process that computes.

``--litellm`` names the executable of LiteLLM's proxy in an environment of its own (``pip install "litellm[proxy]"``).
It answers the same requests to /v1/chat/completions with the same backend, one worker, no database.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.harness import EXTRACT, busy_process, deployed, free_port, percentile, running, studio, table, wait_for
from labeling.demo.samples import generate
from slmstudio.storage.installation import ROOT

#: connections, and requests a second over all of them (0: as fast as they are answered)
PACED = ((1, 200.0), (50, 200.0), (200, 200.0))
FULL = ((1, 0.0), (50, 0.0), (200, 0.0), (1_000, 0.0))
_CHAT = "/v1/chat/completions"
_METRICS_TOKEN = "bench"
_HEADS = ("at once", "alone p50", "p99", "gateway p50", "p99", "added p50", "p99", "requests/s", "a core", "failed")


@dataclass
class Target:
    """A server: its processes are counted for requests a core."""

    address: str
    path: str
    token: str
    body: Path
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Of its processes so far."""
        total = 0.0
        for process in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> list[int]:
        """Resident memory of each of its processes, MiB."""
        return [process.memory_info().rss >> 20 for process in (self.process, *self.process.children(recursive=True))]


def main() -> None:
    """Starts everything, measures, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=3000, help="of each row")
    parser.add_argument("--memory", type=int, default=0, help="further requests, to see that memory stays flat")
    parser.add_argument("--busy", action="store_true", help="also while another process computes")
    parser.add_argument("--litellm", default="", help="executable of LiteLLM's proxy, to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slm-serving-") as folder, studio(web_workers=1) as _:
        socket, port, backend_port = f"unix:{folder}/replica.sock", free_port(), free_port()
        backend = f"http://127.0.0.1:{backend_port}"
        token, _ = deployed(address=socket)
        text = next(iter(generate(1, 17))).text
        body, chat = Path(folder) / "body.json", Path(folder) / "chat.json"
        body.write_text(json.dumps({"text": text}))
        chat.write_text(json.dumps({"model": "bench", "messages": [{"role": "user", "content": text}]}))
        environment = {"API_REQUESTS_PER_MINUTE": "100000000", "METRICS_TOKEN": _METRICS_TOKEN}
        load = (sys.executable, "-m", "bench.serving_load", "replica")
        gateway = (sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}")
        with (
            running(*load, socket), running(*load, backend), running(*gateway, variables=environment) as process,
            _litellm(options.litellm, backend, folder) as litellm,
        ):  # fmt: skip
            wait_for(port)
            wait_for(backend_port)
            time.sleep(3)
            url = f"http://127.0.0.1:{port}"
            ours = Target(url, EXTRACT, token, body, process)
            _measure("Gateway over a replica that answers at once, ms", ours, socket, PACED, options.requests)
            print(_histogram(url))
            _measure("As fast as they are answered, ms", ours, socket, FULL, options.requests)
            if options.busy:
                with busy_process():
                    _measure("The same while another process computes, ms", ours, socket, PACED, options.requests)
            if litellm is not None:
                _compare(Target(url, _CHAT, token, chat, process), litellm, chat, options.requests)
            if options.memory:
                _memory(ours, options.memory)


@contextlib.contextmanager
def _litellm(executable: str, backend: str, folder: str) -> Iterator[Target | None]:
    """LiteLLM's proxy before the same backend, as its documentation starts it."""
    if not executable:
        yield None
        return
    port, config = free_port(), Path(folder) / "litellm.yaml"
    model = {"model": "openai/bench", "api_base": f"{backend}/v1", "api_key": "none"}
    settings = {
        "model_list": [{"model_name": "bench", "litellm_params": model}],
        "litellm_settings": {"num_retries": 0, "set_verbose": False},
        "general_settings": {"master_key": "sk-bench"},
    }
    config.write_text(json.dumps(settings))
    command = (executable, "--config", str(config), "--port", str(port), "--host", "127.0.0.1", "--num_workers", "1")
    variables = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DISABLE_ADMIN_UI": "True"}
    with open(os.devnull, "w") as silent:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE", "REDIS"))}
        started = subprocess.Popen(command, cwd=folder, env={**own, **variables}, stdout=silent, stderr=silent)
    try:
        wait_for(port, seconds=120)
        time.sleep(5)
        address = f"http://127.0.0.1:{port}"
        yield Target(address, _CHAT, "sk-bench", Path(), psutil.Process(started.pid))
    finally:
        started.terminate()
        started.wait(20)


def _measure(title: str, target: Target, alone_at: str, loads: tuple[tuple[int, float], ...], number: int) -> None:
    rows = []
    for concurrent, rate in loads:
        alone = send(alone_at, "/answer", concurrent, rate, number, target.token, target.body)
        before = target.cpu_seconds()
        through = send(target.address, target.path, concurrent, rate, number, target.token, target.body)
        cpu = target.cpu_seconds() - before
        values = [f"{percentile(sent['times'], share):.2f}" for sent in (alone, through) for share in (0.5, 0.99)]
        added = [
            f"{percentile(through['times'], share) - percentile(alone['times'], share):.2f}" for share in (0.5, 0.99)
        ]
        pace = f"{rate:g}/s" if rate else "full"
        per_second, per_core = f"{number / through['seconds']:.0f}", f"{number / cpu:.0f}"
        rows.append((f"{concurrent}, {pace}", *values, *added, per_second, per_core, str(through["failed"])))
    print(table(title, _HEADS, rows), flush=True)


def _compare(ours: Target, litellm: Target, body: Path, number: int) -> None:
    """Both in turn, so that what else the machine does meets both."""
    litellm.body = body
    rows = []
    for concurrent, rate in ((1, 0.0), (50, 100.0), (50, 0.0), (200, 0.0)):
        for name, target in (("gateway", ours), ("LiteLLM", litellm)):
            before = target.cpu_seconds()
            sent = send(target.address, target.path, concurrent, rate, number, target.token, target.body)
            cpu = target.cpu_seconds() - before
            times = [f"{percentile(sent['times'], share):.2f}" for share in (0.5, 0.95, 0.99)]
            pace = f"{rate:g}/s" if rate else "full"
            speed = (f"{number / sent['seconds']:.0f}", f"{number / cpu:.0f}", str(sum(target.memory_mb())))
            rows.append((f"{name}, {concurrent}, {pace}", *times, *speed, str(sent["failed"])))
    heads = ("/v1/chat/completions, at once", "p50", "p95", "p99", "requests/s", "a core", "MiB", "failed")
    print(table("Compared with LiteLLM's proxy, same backend, ms", heads, rows), flush=True)


def _histogram(url: str) -> str:
    """What the gateway added, by its own metrics."""
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {_METRICS_TOKEN}"})
    with urllib.request.urlopen(request) as response:
        text = response.read().decode()
    buckets = re.findall(r'slm_gateway_seconds_bucket\{[^}]*le="([^"]+)"[^}]*\} ([\d.e+]+)', text)
    total = float(buckets[-1][1])
    rows = [(f"{1_000 * float(limit):g}", f"{float(count) / total:.1%}") for limit, count in buckets]
    return table("slm_gateway_seconds of all requests above", ("up to ms", "requests"), rows)


def _memory(target: Target, number: int) -> None:
    rows = []
    for part in range(5):
        sizes = target.memory_mb()
        rows.append((f"{part * number // 4:,}", str(sizes[0]), str(sum(sizes[1:]))))
        if part < 4:
            send(target.address, target.path, 50, 0.0, number // 4, target.token, target.body)
    heads = ("requests", "gateway", "log store")
    print(table("Resident memory after so many more requests, MiB", heads, rows))


def send(address: str, path: str, concurrent: int, rate: float, number: int, token: str, body: Path) -> dict[str, Any]:
    """The load of ``bench.serving_load`` from a process of its own: seconds, times in milliseconds, failed requests."""
    options = (address, path, str(concurrent), str(number), str(rate), token, str(body))
    command = [sys.executable, "-m", "bench.serving_load", *options]
    sent: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return sent


if __name__ == "__main__":
    main()
