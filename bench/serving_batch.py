"""A batch of 10,000 documents during live requests: ``python -m bench.serving_batch [--documents N] [--no-kill]``.

Real processes: PostgreSQL, Valkey, the web server, a worker, a gateway, and a replica that answers four documents at
the same time, each after some milliseconds. The file is sent over REST; live requests are sent before and during the
batch. In the middle the worker is killed (-9) and started again. Shows documents per second, how much slower live
requests are, and that every line has one result.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.serving import deployed, running
from bench.studio import free_port, studio, wait_for
from bench.timing import percentile, table
from slmstudio.stack.environment import ROOT

SLOTS, MODEL_SECONDS = 4, 0.01
LIVE_PER_SECOND = 10.0
_PATH = "/api/v1/projects/bench/extract"
#: every so many lines one that is no document
_BAD_EVERY = 100


def main() -> None:
    """Starts everything, sends the batch, prints the table; or is the replica."""
    if sys.argv[1:2] == ["replica"]:
        _replica(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--no-kill", action="store_true", help="the worker is not killed")
    options = parser.parse_args()
    port = free_port()
    os.environ |= {
        "REPLICA_SLOTS": str(SLOTS), "GATEWAY_URL": f"http://127.0.0.1:{port}", "API_REQUESTS_PER_MINUTE": "10000000"
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="slm-batch-") as folder, studio(web_workers=1) as found:
        socket = f"unix:{folder}/replica.sock"
        token, _ = deployed(address=socket)
        replica = (sys.executable, "-m", "bench.serving_batch", "replica", socket)
        gateway = (sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}")
        with running(*replica), running(*gateway), _sweeping():
            wait_for(port)
            time.sleep(3)
            _measure(found.port, port, found.worker, token, options.documents, kill=not options.no_kill)


@contextlib.contextmanager
def _sweeping() -> Iterator[None]:
    """The reaper, which queues the batch of a killed worker again."""
    with running(sys.executable, "manage.py", "sweep", "--every", "2"):
        yield


def _measure(web: int, gateway: int, worker: int, token: str, number: int, *, kill: bool) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    body = b"".join(_line(one) for one in range(number))
    client = httpx.Client(
        base_url=f"http://127.0.0.1:{web}", headers={"Authorization": f"Bearer {token}"}, timeout=120, trust_env=False
    )
    alone = asyncio.run(_live(gateway, token, seconds=10.0))
    began = time.monotonic()
    sent = client.post(f"{_PATH}/batch", content=body, headers={"Content-Type": "application/jsonl"})
    sent.raise_for_status()
    accepted = time.monotonic() - began
    address = f"{_PATH}/batch/{sent.json()['id']}"
    during = asyncio.run(_live(gateway, token, seconds=10.0))
    killed = _kill(client, address, worker) if kill else None
    while (state := client.get(address).json())["status"] in ("queued", "running"):
        time.sleep(1)
    seconds = time.monotonic() - began
    if killed is not None:
        killed.terminate()
        killed.wait(20)
    lines = [json.loads(line) for line in client.get(state["result"]).text.splitlines()]
    numbers = Counter(row["line"] for row in lines)
    wrong = sum("output" in row and row["output"]["invoice_id"] != row["id"] for row in lines)
    rows = [
        ("status", state["status"]), ("documents", f"{number:,}"), ("accepted after, s", f"{accepted:.2f}"),
        ("done after, s", f"{seconds:.1f}"), ("documents a second", f"{number / seconds:.0f}"),
        ("answered", f"{state['answered']:,}"), ("bad lines", f"{state['failed']:,}"),
        ("lines with one result", f"{sum(count == 1 for count in numbers.values()):,}"), ("wrong outputs", str(wrong)),
        *((f"live {name}, ms, alone / during", f"{percentile(alone, share):.1f} / {percentile(during, share):.1f}")
          for name, share in (("p50", 0.5), ("p95", 0.95))),
    ]  # fmt: skip
    print(table(f"A batch during {LIVE_PER_SECOND:g} live requests a second", ("", ""), rows))


def _line(number: int) -> bytes:
    if number % _BAD_EVERY == _BAD_EVERY - 1:
        return b'{"id": "bad", "text": \n'
    name = f"A-{number:06}"
    return json.dumps({"id": name, "text": f"Invoice {name}, total 12.50. " * 40}).encode() + b"\n"


def _kill(client: httpx.Client, address: str, worker: int) -> "subprocess.Popen[bytes]":
    """Kills the worker with its job, and starts another one."""
    while client.get(address).json()["done"] < 1_000:
        time.sleep(0.2)
    process = psutil.Process(worker)
    for one in (*process.children(recursive=True), process):
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    command = [sys.executable, "manage.py", "rqworker", "default"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


async def _live(gateway: int, token: str, seconds: float) -> list[float]:
    """Milliseconds of requests at a steady pace."""
    times: list[float] = []
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:

        async def ask(number: int) -> None:
            began = time.perf_counter()
            response = await client.post(
                f"http://127.0.0.1:{gateway}{_PATH}", json={"text": f"Invoice A-{number:06}"},
                headers={"Authorization": f"Bearer {token}"},
            )  # fmt: skip
            response.raise_for_status()
            times.append((time.perf_counter() - began) * 1000)

        asking = []
        for number in range(int(seconds * LIVE_PER_SECOND)):
            asking.append(asyncio.ensure_future(ask(number)))
            await asyncio.sleep(1 / LIVE_PER_SECOND)
        await asyncio.gather(*asking)
    return sorted(times)


def _replica(address: str) -> None:
    """Answers SLOTS documents at the same time with the number in them."""
    import re

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    slots = asyncio.Semaphore(SLOTS)

    async def answer(request: Request) -> JSONResponse:
        text = (await request.json())["text"]
        arrived = time.perf_counter()
        async with slots:
            queued = (time.perf_counter() - arrived) * 1000
            await asyncio.sleep(MODEL_SECONDS)
        number = re.search(r"A-\d+", text)
        output: dict[str, Any] = dict.fromkeys(("date", "vendor", "total_amount"))
        raw = json.dumps({"invoice_id": number[0] if number else None, **output})
        return JSONResponse({
            "raw": raw, "finish_reason": "stop", "queue_ms": queued, "model_ms": 1_000 * MODEL_SECONDS,
            "prompt_tokens": 300, "output_tokens": 40, "confidence": {}, "error": "", "code": "",
        })  # fmt: skip

    app = Starlette(routes=[Route("/answer", answer, methods=["POST"])])
    path = str(Path(address.removeprefix("unix:")))
    uvicorn.run(app, uds=path, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
