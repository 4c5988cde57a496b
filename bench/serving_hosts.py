"""Two hosts under load: ``python -m bench.serving_hosts`` (as root, on Linux).

Real processes in a temporary SLM_HOME, as in ``bench.serving_faults``: PostgreSQL, Valkey, a gateway with two workers,
and ``serve`` on two hosts. A host is a network namespace with its own address: replicas listen on a port of it, and the
gateway reaches them over the network, with the secret. Then one host is killed, and later another one is cut off the
network without a word. Requests that failed, the longest request, and what each host answered.
"""

import argparse
import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from bench import serving_faults
from bench.serving_faults import PER_SECOND, Rig, _loaded
from bench.studio import free_port
from bench.timing import table
from slmstudio import stack
from slmstudio.stack import environment
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
        for one in family:
            one.kill()
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
    for one in hosts.values():
        one.start(rig.running.places.home / f"{one.name}.log")
    await _ready({*hosts})
    await asyncio.sleep(3)
    rows = []
    async with _loaded(rig):
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
    failed = [one for one in sent if one.status != 200]
    last = max((one.ended - began for one in failed), default=0.0)
    statuses = dict(Counter(one.status for one in failed)) or ""
    wrong = sum(one.status == 200 and not one.right for one in sent)
    ended = sorted(one.ended for one in sent)
    pause = max((after - before for before, after in pairwise(ended)), default=0.0)
    return (title, str(len(sent)), f"{len(failed)} {statuses}".strip(), str(wrong), f"{last:.1f}", f"{pause:.2f}")


def main() -> None:
    """Makes the hosts, measures, prints the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    home = Path(tempfile.mkdtemp(prefix="slm-hosts-"))
    os.environ |= {
        "SLM_HOME": str(home), "DJANGO_SETTINGS_MODULE": "slmstudio.settings", "SECRET_KEY": "abcdefgh" * 4,
        "API_REQUESTS_PER_MINUTE": "1000000", "REPLICA_SLOTS": "64", "GATEWAY_TIMEOUT_SECONDS": "30",
    }  # fmt: skip
    try:
        with environment.servers() as running:
            assert running is not None
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            os.environ.pop("DATABASE_OWNER_URL", None)
            rows = _rows(running)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    heads = ("", "requests", "failed", "wrong", "last failure after, s", "longest pause, s")
    print(table(f"Two hosts at {PER_SECOND} requests a second", heads, rows))


def _rows(running: stack.Running) -> Any:
    import django

    django.setup()
    from django.db import connections

    token, _ = serving_faults.deployed_without_model(1)
    rig = Rig(running, free_port(), token)
    hosts: dict[str, Host] = {}
    try:
        for name, prefix in HOSTS.items():
            hosts[name] = Host(name, prefix)
        return asyncio.run(_run(rig, hosts))
    finally:
        for one in hosts.values():
            one.remove()
        if rig.gateway is not None:
            rig.gateway.send_signal(signal.SIGTERM)
            rig.gateway.wait(30)
        connections.close_all()


if __name__ == "__main__":
    main()
