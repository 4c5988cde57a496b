"""Concurrent HTTP requests from one process, and a replica that answers at once; parts of ``bench.serving``.

python -m bench.serving_load ADDRESS PATH CONCURRENT REQUESTS PER_SECOND TOKEN BODY_FILE
python -m bench.serving_load replica unix:PATH|http://127.0.0.1:PORT
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

Times = list[float]


async def _connection(
    address: str, request: bytes, times: Times, statuses: list[int], left: list[int], pause: float, first: float
) -> None:
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
    due = time.perf_counter() + first
    while left[0] > 0:
        left[0] -= 1
        if pause:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += pause
        started = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        times.append((time.perf_counter() - started) * 1000)
        statuses.append(int(head.split(b" ", 2)[1]))
    writer.close()


async def load(
    address: str, path: str, concurrent: int, requests: int, per_second: float, token: str, body: bytes
) -> dict[str, Any]:
    """Sends the requests, each connection one after another; times in milliseconds.

    ``per_second``: of all connections together; 0: as fast as they are answered.
    """
    pause = concurrent / per_second if per_second else 0.0
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    times: Times = []
    statuses: list[int] = []
    left = [requests]
    began = time.perf_counter()
    await asyncio.gather(
        *[
            _connection(address, head.encode() + body, times, statuses, left, pause, pause * number / concurrent)
            for number in range(concurrent)
        ]
    )
    return {
        "seconds": time.perf_counter() - began,
        "times": sorted(times),
        "failed": sum(status != 200 for status in statuses),
    }


def replica(address: str) -> None:
    """A replica that answers every document at once; below /v1 as an OpenAI-compatible server does."""
    import orjson
    import uvicorn

    answer = {
        "raw": '{"invoice_id":"A-17","date":"2026-01-14","vendor":"Bradley Ltd","total_amount":12.50}',
        "finish_reason": "stop", "queue_ms": 0.0, "model_ms": 0.0, "prompt_tokens": 300, "output_tokens": 40,
        "confidence": {"invoice_id": [0.9, 0.95], "date": [0.8, 0.9], "vendor": [0.7, 0.8], "total_amount": [0.9, 0.9]},
        "error": "", "code": "",
    }  # fmt: skip
    message = {"role": "assistant", "content": answer["raw"]}
    completion = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_790_000_000, "model": "bench",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340},
    }  # fmt: skip
    responses = {
        is_openai: (
            [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
            body,
        )
        for is_openai, body in ((False, orjson.dumps(answer)), (True, orjson.dumps(completion)))
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        headers, body = responses[scope["path"].startswith("/v1/")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    if address.startswith("unix:"):
        where: dict[str, Any] = {"uds": address.removeprefix("unix:")}
    else:
        host, _, port = address.removeprefix("http://").rpartition(":")
        where = {"host": host, "port": int(port)}
    uvicorn.run(app, **where, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    if sys.argv[1] == "replica":
        replica(sys.argv[2])
    else:
        where, path, concurrent, number, rate, token, file = sys.argv[1:]
        work = load(where, path, int(concurrent), int(number), float(rate), token, Path(file).read_bytes())
        print(json.dumps(asyncio.run(work)))
