"""The gateway under attack: ``python -m bench.gateway_attack [--connections N] [--seconds N] [--busy] [--json]``.

Real processes in a temporary SLM_HOME: PostgreSQL, Valkey, one gateway process, one replica that answers at once.
Another process opens connections from addresses of 127.0.0.0/8: half of them send nothing, half a byte of a header each
second, and each is made again when the gateway closes it. Others send 19 MB of JSON without a token, and one with a
token of the project does so, too. Five times a second and each on its own connection: /healthz, and a
document with a token. Nothing outside this machine is reached, and everything ends after ``--seconds`` for each row.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from bench.gateway_attack_clients import PATIENCE
from bench.timing import percentile, table

ROWS = ("none", "connections", "bodies", "both")


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
    from bench.serving import busy_process, deployed, running
    from bench.studio import free_port, studio, wait_for

    with tempfile.TemporaryDirectory(prefix="slm-attack-") as folder, studio(web_workers=1):
        socket, port = f"unix:{folder}/replica.sock", free_port()
        token, _ = deployed(address=socket)
        variables = {"API_REQUESTS_PER_MINUTE": "100000"}
        command = (sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}")
        with (
            running(sys.executable, "-m", "bench.serving_load", "replica", socket),
            running(*command, **variables) as process,
            busy_process() if busy else contextlib.nullcontext(),
        ):
            wait_for(port, seconds=120)
            time.sleep(3)
            yield port, token, process.pid


def _row(attack: str, port: int, token: str, pid: int, connections: int, seconds: float) -> Row:
    """One row: attackers and probes are processes of their own."""
    import psutil

    module = [sys.executable, "-m", "bench.gateway_attack_clients"]
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
        open_now = sum(one.status == psutil.CONN_ESTABLISHED for one in gateway.net_connections(kind="inet"))
        memory = gateway.memory_info().rss >> 20
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)
    probes = [Probe(**values) for values in json.loads(done.stdout)]
    return Row(attack, probes, open_now, memory, cpu)


def _cpu_seconds(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _wait_for_connections(pid: int, wanted: int) -> None:
    """Until most of them are open; not longer than a minute."""
    import psutil

    until = time.monotonic() + 60
    while time.monotonic() < until and len(psutil.Process(pid).net_connections(kind="inet")) < wanted * 0.9:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
