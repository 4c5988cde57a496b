"""The gateway under attack: ``python -m bench.gateway_attack [--connections N] [--seconds N] [--busy] [--json]``.

Real processes in a temporary SLM_HOME: PostgreSQL, Valkey, one gateway process, one replica that answers at once.
Another process opens connections from addresses of 127.0.0.0/8: half of them send nothing, half a byte of a header each
second, and each is made again when the gateway closes it. Others send 19 MB of JSON without a token, and one with a
token of the project does so, too. Five times a second and each on its own connection: /healthz, and a
document with a token. Nothing outside this machine is reached, and everything ends after ``--seconds`` for each row.

Attackers and probes are processes of their own: ``python -m bench.gateway_attack CLIENT PORT NUMBER|TOKEN SECONDS``.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from bench.harness import EXTRACT, busy_process, deployed, free_port, percentile, running, studio, table, wait_for
from slmstudio.server.master import raise_open_files_limit

ROWS = ("none", "connections", "bodies", "both")
CLIENTS = ("connections", "bodies", "probes")
_PAUSE = 0.2
#: seconds after which a probe counts as unanswered
PATIENCE = 30.0
_BODY = b"[" + b"[]," * 6_333_333 + b"[]]"
_SENDERS = 4


@dataclass
class Probe:
    """What one kind of probe saw. Times in milliseconds; ``failed``: other statuses than 200, 0: no answer."""

    name: str
    times: list[float] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


@dataclass
class Row:
    """One row: who attacks, and what the probes saw."""

    attack: str
    probes: list[Probe]
    connections: int
    memory_mb: int
    #: seconds of processor time of the gateway in each second
    cpu: float


def main() -> None:
    """Starts everything, attacks, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each row")
    parser.add_argument("--busy", action="store_true", help="while another process computes")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("rows", nargs="*", default=ROWS, help=f"of {', '.join(ROWS)}")
    options = parser.parse_args()
    with _gateway(busy=options.busy) as (port, token, pid):
        rows = [_row(attack, port, token, pid, options.connections, options.seconds) for attack in options.rows]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    heads = ("attack", "probe", "answered", "p50", "p99", "longest", "failed", "connections", "gateway MiB", "CPU")
    lines = [
        (
            row.attack, probe.name, str(len(probe.times)),
            *(f"{percentile(probe.times, share):.1f}" for share in (0.5, 0.99, 1.0)), str(len(probe.failed)),
            str(row.connections), str(row.memory_mb), f"{row.cpu:.0%}",
        )
        for row in rows
        for probe in row.probes
    ]  # fmt: skip
    print(table("Probes during an attack, ms", heads, lines))


@contextlib.contextmanager
def _gateway(*, busy: bool) -> Iterator[tuple[int, str, int]]:
    """The port of a gateway, a token, and the gateway's process."""

    with tempfile.TemporaryDirectory(prefix="slm-attack-") as folder, studio(web_workers=1):
        socket, port = f"unix:{folder}/replica.sock", free_port()
        token, _ = deployed(address=socket)
        variables = {"API_REQUESTS_PER_MINUTE": "100000"}
        command = (sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}")
        with (
            running(sys.executable, "-m", "bench.serving_load", "replica", socket),
            running(*command, variables=variables) as process,
            busy_process() if busy else contextlib.nullcontext(),
        ):
            wait_for(port, seconds=120)
            time.sleep(3)
            yield port, token, process.pid


def _row(attack: str, port: int, token: str, pid: int, connections: int, seconds: float) -> Row:
    """One row: attackers and probes are processes of their own."""
    module = [sys.executable, "-m", "bench.gateway_attack"]
    ends = seconds + PATIENCE + 60
    attackers = []
    if attack in ("connections", "both"):
        attackers.append([*module, "connections", str(port), str(connections), str(ends)])
    if attack in ("bodies", "both"):
        attackers.append([*module, "bodies", str(port), token, str(ends)])
    started = [subprocess.Popen(command) for command in attackers]
    try:
        if attack in ("connections", "both"):
            _wait_for_connections(pid, connections)
        before, began = _cpu_seconds(pid), time.perf_counter()
        done = subprocess.run(
            [*module, "probes", str(port), token, str(seconds)], stdout=subprocess.PIPE, text=True, check=True
        )
        cpu = (_cpu_seconds(pid) - before) / (time.perf_counter() - began)
        gateway = psutil.Process(pid)
        states = [connection.status for connection in gateway.net_connections(kind="inet")]
        memory = gateway.memory_info().rss >> 20
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)
    probes = [Probe(**values) for values in json.loads(done.stdout)]
    return Row(attack, probes, states.count(psutil.CONN_ESTABLISHED), memory, cpu)


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _wait_for_connections(pid: int, wanted: int) -> None:
    """Until most of them are open; not longer than a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until and len(psutil.Process(pid).net_connections(kind="inet")) < wanted * 0.9:
        time.sleep(0.5)


# -- attackers and probes --------------------------------------------------------------------------------------------


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
    paths = (b"/v1/chat/completions", EXTRACT.encode(), b"/api/v1/projects/bench/feedback")
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
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (EXTRACT.encode(), token.encode(), len(body), body)
    )
    health = b"GET /healthz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    until = time.perf_counter() + seconds
    return list(
        await asyncio.gather(_probe("/healthz", port, health, until), _probe("document", port, document, until))
    )


async def _for(seconds: float, work: Callable[[], list[Awaitable[None]]]) -> None:
    """Runs endless work for some seconds."""
    tasks = [asyncio.ensure_future(task) for task in work()]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()


def client() -> None:
    """The process of an attacker, or of the probes."""
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
    client() if len(sys.argv) == 5 and sys.argv[1] in CLIENTS else main()
