"""Two hosts under load: ``python -m bench.serving_hosts`` (as root, on Linux).

Real processes in a temporary SLM_HOME, as in ``bench.serving_faults``: PostgreSQL, Valkey, a gateway with two workers,
and ``serve`` on two hosts. A host is a network namespace with its own address: replicas listen on a port of it, and the
gateway reaches them over the network, with the secret. Then one host is killed, and later another one is cut off the
network without a word. Requests that failed, the longest request, and what each host answered.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import psutil

from bench.harness import table
from bench.serving_faults import PER_SECOND, Rig, loaded, rig
from slmstudio.stack.environment import ROOT

HOSTS = {"a": "10.203.1", "b": "10.203.2"}
#: seconds of load before and after a host is gone
SECONDS = 12.0


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


class Host:
    """A network namespace with ``serve`` in it."""

    def __init__(self, name: str, prefix: str) -> None:
        self.name, self.space, self.link = name, f"slm-{os.getpid()}-{name}", f"slm{os.getpid() % 10_000}{name}"
        self.address = f"{prefix}.2"
        self.process: subprocess.Popen[bytes] | None = None
        _ip("netns", "add", self.space)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        _ip("address", "add", f"{prefix}.1/30", "dev", self.link)
        _ip("link", "set", self.link, "up")
        for arguments in (("address", "add", f"{prefix}.2/30", "dev", "eth0"), ("link", "set", "eth0", "up")):
            _ip("-n", self.space, *arguments)
        _ip("-n", self.space, "link", "set", "lo", "up")

    def start(self, log: Path) -> None:
        """``manage.py serve`` with replicas without a model."""
        variables = {"REPLICA_BIND": self.address, "REPLICA_HOST_NAME": self.name}
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.space, sys.executable, "-m", "bench.serving_replica", "serve"],
                cwd=ROOT, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip

    def kill(self) -> None:
        """kill -9 of everything on it."""
        assert self.process is not None
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in family:
            process.kill()
        self.process.wait()

    def cut_off(self) -> None:
        """Its network is gone; its processes go on."""
        _ip("link", "set", self.link, "down")

    def reconnect(self) -> None:
        """Its network is back."""
        _ip("link", "set", self.link, "up")

    def remove(self) -> None:
        """Ends its processes and removes the namespace."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
        _ip("netns", "delete", self.space, check=False)
        _ip("link", "delete", self.link, check=False)


async def _ready(wanted: set[str]) -> None:
    """Waits until just these hosts answer."""
    from serving.gateway.database import in_database
    from serving.models import Replica

    deadline = time.monotonic() + 90
    while True:
        hosts = await in_database(lambda: set(Replica.objects.ready().values_list("host", flat=True)))
        if hosts == wanted:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"The hosts {sorted(hosts)} answer instead of {sorted(wanted)}.")
        await asyncio.sleep(0.2)


async def _run(rig: Rig, hosts: dict[str, Host]) -> list[tuple[str, ...]]:
    rig.start_gateway()
    for host in hosts.values():
        host.start(rig.running.places.home / f"{host.name}.log")
    await _ready({*hosts})
    await asyncio.sleep(3)
    rows = []
    async with loaded(rig):
        await asyncio.sleep(3)
        rows.append(await _row(rig, "both answer"))
        hosts["a"].kill()
        rows.append(await _row(rig, "host a is killed"))
        await _ready({"b"})
        hosts["a"].start(rig.running.places.home / "a.log")
        await _ready({*hosts})
        await asyncio.sleep(3)
        hosts["b"].cut_off()
        rows.append(await _row(rig, "host b is cut off the network"))
        hosts["b"].reconnect()
    return rows


async def _row(rig: Rig, title: str) -> tuple[str, ...]:
    first, began = len(rig.sent), time.monotonic()
    await asyncio.sleep(SECONDS)
    sent = rig.sent[first:]
    failed = [request for request in sent if request.status != 200]
    last = max((request.ended - began for request in failed), default=0.0)
    statuses = dict(Counter(request.status for request in failed)) or ""
    wrong = sum(request.status == 200 and not request.right for request in sent)
    ended = sorted(request.ended for request in sent)
    pause = max((after - before for before, after in pairwise(ended)), default=0.0)
    return (title, str(len(sent)), f"{len(failed)} {statuses}".strip(), str(wrong), f"{last:.1f}", f"{pause:.2f}")


def main() -> None:
    """Makes the hosts, measures, prints the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with rig(1, GATEWAY_TIMEOUT_SECONDS="30") as processes, contextlib.ExitStack() as stack:
        hosts: dict[str, Host] = {}
        for name, prefix in HOSTS.items():
            hosts[name] = Host(name, prefix)
            stack.callback(hosts[name].remove)
        rows = asyncio.run(_run(processes, hosts))
    heads = ("", "requests", "failed", "wrong", "last failure after, s", "longest pause, s")
    print(table(f"Two hosts at {PER_SECOND} requests a second", heads, rows))


if __name__ == "__main__":
    main()
