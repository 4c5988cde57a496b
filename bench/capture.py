"""What forwarding adds to an external model that answers at once: ``python -m bench.capture``.

Real processes: PostgreSQL, Valkey, one gateway process, the model (an OpenAI-compatible server), one process that sends
requests; each row directly and through the gateway. Bodies of both ways are compared byte for byte. For streams: the
time until the first event, of a model that waits 200 ms before the second one.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.studio import free_port, studio, wait_for
from bench.timing import percentile, table
from slmstudio.stack.environment import ROOT

LOADS = ((1, 0.0), (50, 200.0), (50, 0.0))
PAUSE_SECONDS = 0.2
STREAMS = 30
BODY = {
    "model": "big", "temperature": 0, "messages": [
        {"role": "system", "content": "Extract the invoice into JSON."},
        {"role": "user", "content": "Invoice A-17 of Bradley Ltd, 14 January 2026, total 12.50"},
    ],
}  # fmt: skip


def model(port: int) -> None:
    """The external model."""
    import uvicorn

    output = '{"invoice_id":"A-17","date":"2026-01-14","vendor":"Bradley Ltd","total_amount":12.50}'
    message = {"role": "assistant", "content": output, "refusal": None}
    answer = json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_800_000_000, "model": "big-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 40, "total_tokens": 90},
    }).encode()  # fmt: skip
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "big-1"}
    events = [
        b"data: " + json.dumps({**chunk, "choices": [{"index": 0, "delta": {"content": part}}]}).encode() + b"\n\n"
        for part in (output[:20], output[20:])
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("type") == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        streams = json.loads(body).get("stream") is True
        kind, first = (b"text/event-stream", []) if streams else (b"application/json", [len(answer)])
        headers = [(b"content-type", kind), *((b"content-length", str(one).encode()) for one in first)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not streams:
            await send({"type": "http.response.body", "body": answer})
            return
        await send({"type": "http.response.body", "body": events[0], "more_body": True})
        await asyncio.sleep(PAUSE_SECONDS)
        await send({"type": "http.response.body", "body": events[1] + b"data: [DONE]\n\n"})

    uvicorn.run(app, port=port, log_level="error", access_log=False, lifespan="off", timeout_keep_alive=60)


def main() -> None:
    """Starts everything, measures, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="of each row")
    options = parser.parse_args()
    port, gateway_port = free_port(), free_port()
    environment = {"OUTBOUND_ALLOW": "127.0.0.1", "API_REQUESTS_PER_MINUTE": "100000000"}
    os.environ |= environment
    with tempfile.TemporaryDirectory(prefix="slm-capture-") as folder, studio(web_workers=1) as _:
        token = _rows(f"http://127.0.0.1:{port}/v1")
        body = Path(folder) / "body.json"
        body.write_text(json.dumps(BODY))
        processes = [
            subprocess.Popen([sys.executable, "-m", "bench.capture", "model", str(port)], cwd=ROOT),
            subprocess.Popen(
                [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{gateway_port}"], cwd=ROOT,
                env={**os.environ, **environment},
            ),
        ]  # fmt: skip
        try:
            for one in (port, gateway_port):
                wait_for(one)
            time.sleep(3)
            _measure((port, gateway_port), token, body, options.requests)
            _streams((port, gateway_port), token)
        finally:
            for process in processes:
                process.terminate()
                process.wait(20)


def _paths(ports: tuple[int, int]) -> list[str]:
    return [f"http://127.0.0.1:{ports[0]}/v1", f"http://127.0.0.1:{ports[1]}/capture/bench/v1"]


def _measure(ports: tuple[int, int], token: str, body: Path, number: int) -> None:
    rows = []
    for concurrent, rate in LOADS:
        found = []
        for port, prefix in zip(ports, ("/v1", "/capture/bench/v1"), strict=True):
            options = (
                f"http://127.0.0.1:{port}",
                f"{prefix}/chat/completions",
                str(concurrent),
                str(number),
                str(rate),
            )
            command = [sys.executable, "-m", "bench.serving_load", *options, token, str(body)]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
            found.append(json.loads(done.stdout))
        times = [percentile(one["times"], share) for one in found for share in (0.5, 0.99)]
        pace = f"{rate:g}/s" if rate else "full"
        rows.append((
            f"{concurrent}, {pace}", *(f"{one:.2f}" for one in times), f"{times[2] - times[0]:.2f}",
            f"{times[3] - times[1]:.2f}", f"{number / found[1]['seconds']:.0f}", str(found[1]["failed"]),
        ))  # fmt: skip
    heads = ("at once", "direct p50", "p99", "gateway p50", "p99", "added p50", "p99", "requests/s", "failed")
    print(table("Forwarding to a model that answers at once, ms", heads, rows))


def _streams(ports: tuple[int, int], token: str) -> None:
    first: list[list[float]] = []
    bodies = []
    for base in _paths(ports):
        times, content = [], b""
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}) as client:
            for _ in range(STREAMS):
                began = time.perf_counter()
                with client.stream("POST", f"{base}/chat/completions", json={**BODY, "stream": True}) as response:
                    pieces = response.iter_raw()
                    content = next(pieces)
                    times.append(1_000 * (time.perf_counter() - began))
                    content += b"".join(pieces)
        first.append(sorted(times))
        bodies.append(content)
    rows = [
        (name, f"{percentile(times, 0.5):.1f}", f"{percentile(times, 0.99):.1f}")
        for name, times in zip(("direct", "gateway"), first, strict=True)
    ]
    print(table("First event of a stream whose second one comes 200 ms later, ms", ("way", "p50", "p99"), rows))
    print("bodies are equal" if bodies[0] == bodies[1] else "BODIES DIFFER")


def _rows(url: str) -> str:
    """A project whose stable version is the external model; returns a token."""
    from bench.serving import deployed
    from evaluation.models import Endpoint
    from serving.models import Deployment, Release

    token, release = deployed()
    endpoint = Endpoint.objects.create(project=release.project, name="Big", url=url, model="big")
    external = Release.objects.create(project=release.project, number=2, endpoint=endpoint)
    Deployment.objects.update(stable=external, capture="token")
    return token


if __name__ == "__main__":
    if sys.argv[1:2] == ["model"]:
        model(int(sys.argv[2]))
    else:
        main()
