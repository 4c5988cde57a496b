"""Attackers and probes of ``bench.gateway_attack``, each a process of its own that ends by itself.

python -m bench.gateway_attack_clients connections PORT NUMBER SECONDS
python -m bench.gateway_attack_clients bodies PORT TOKEN SECONDS
python -m bench.gateway_attack_clients probes PORT TOKEN SECONDS
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from slmstudio.server.processes import raise_open_files_limit

_EXTRACT = b"/api/v1/projects/bench/extract"
_PAUSE = 0.2
#: seconds after which a probe counts as unanswered
PATIENCE = 30.0
_BODY = b"[" + b"[]," * 6_333_333 + b"[]]"
_SENDERS = 4


async def _connect(port: int, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection from one of many addresses of this machine."""
    source = f"127.{1 + number % 250}.{number // 250 % 250}.7"
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def _hold(port: int, number: int) -> None:
    """A connection that is idle, or sends a byte of a header each second; made again when it is closed."""
    await asyncio.sleep(number / 1_000)
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await _connect(port, number)
            with contextlib.suppress(TimeoutError):
                if number % 2:
                    await reader.read()
                while not reader.at_eof():
                    writer.write(b"G" if not number % 2 else b"")
                    await asyncio.wait_for(reader.read(1), 1.0)
            writer.transport.abort()
        await asyncio.sleep(0.5)


async def _send(port: int, number: int, token: str) -> None:
    """Bodies of 19 MB, one after another. ``token``: the first sender has one."""
    authorization = f"Authorization: Bearer {token}\r\n".encode() if not number else b""
    paths = (b"/v1/chat/completions", _EXTRACT, b"/api/v1/projects/bench/feedback")
    while True:
        for path in paths:
            with contextlib.suppress(OSError, TimeoutError):
                _, writer = await _connect(port, number)
                writer.write(
                    b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n%s"
                    b"Content-Length: %d\r\n\r\n" % (path, authorization, len(_BODY))
                )
                for at in range(0, len(_BODY), 2**18):
                    writer.write(_BODY[at : at + 2**18])
                    await asyncio.wait_for(writer.drain(), PATIENCE)
                writer.transport.abort()
        await asyncio.sleep(0.05)


async def _asked(port: int, request: bytes) -> int:
    """The status of a request on a connection of its own; 0 without one."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return int(head.split(b" ", 2)[1])
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return 0


async def _probe(name: str, port: int, request: bytes, until: float) -> dict[str, Any]:
    times: list[float] = []
    failed: list[int] = []
    due = time.perf_counter()
    while time.perf_counter() < until:
        began = time.perf_counter()
        status = await _asked(port, request)
        times.append((time.perf_counter() - began) * 1000)
        if status != 200:
            failed.append(status)
        due = max(due + _PAUSE, time.perf_counter())
        await asyncio.sleep(due - time.perf_counter())
    return {"name": name, "times": times, "failed": failed}


async def _probes(port: int, token: str, seconds: float) -> list[dict[str, Any]]:
    body = json.dumps({"text": "Invoice A-17, total 12.50"}).encode()
    document = (
        b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (_EXTRACT, token.encode(), len(body), body)
    )
    health = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    until = time.perf_counter() + seconds
    return list(
        await asyncio.gather(_probe("/healthz", port, health, until), _probe("document", port, document, until))
    )


async def _for(seconds: float, work: Callable[[], list[Awaitable[None]]]) -> None:
    """Runs endless work for some seconds."""
    tasks = [asyncio.ensure_future(one) for one in work()]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()


def main() -> None:
    """Runs one of them."""
    what, port, given, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    raise_open_files_limit()
    if what != "probes":
        os.nice(19)  # attackers would compute on other machines
    if what == "connections":
        asyncio.run(_for(seconds, lambda: [_hold(port, number) for number in range(int(given))]))
    elif what == "bodies":
        asyncio.run(_for(seconds, lambda: [_send(port, number, given) for number in range(_SENDERS)]))
    else:
        print(json.dumps(asyncio.run(_probes(port, given, seconds))))


if __name__ == "__main__":
    main()
