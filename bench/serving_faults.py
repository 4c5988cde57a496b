"""Faults of serving under load: ``python -m bench.serving_faults [--quick] [--json] [FAULT ...]``.

Real processes in a temporary SLM_HOME: PostgreSQL, Valkey, a gateway with two workers, ``serve`` with two replicas
(``bench.serving_replica``), and a client that sends 100 requests a second and checks every output. For each fault:
requests that failed, seconds until the last of them, seconds until everything runs again, and how many requests that
were answered with 200 are missing in the log. Requests are not sent again by the client.
"""

import argparse
import asyncio
import contextlib
import json
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import aiohttp
import psutil

from bench.harness import EXTRACT, deployed, free_port, stack, table
from slmstudio.stack import lifecycle
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.processes import command
from slmstudio.stack.valkey import Valkey
from slmstudio.storage.installation import ROOT

CONNECTIONS = 20
PER_SECOND = 100
REPLICAS = 2
HUNG_UP = 10
#: seconds that a fault has to be over
_PATIENCE = 120.0


@dataclass
class Result:
    """What a fault did. ``statuses``: of the failed requests; 0: no response."""

    fault: str
    requests: int
    failed: int
    wrong: int
    recovered: float
    whole: float
    missing: int
    statuses: dict[int, int]


@dataclass
class Sent:
    """One request of the load, and the number of the version that answered."""

    ended: float
    status: int
    id: str
    right: bool
    version: int


@dataclass
class Rig:
    """The processes, and what the load got."""

    running: lifecycle.Running
    port: int
    token: str
    sent: list[Sent] = field(default_factory=list)
    gateway: "subprocess.Popen[bytes] | None" = None
    serve: "subprocess.Popen[bytes] | None" = None
    number: int = 0

    def start_gateway(self) -> None:
        """Two workers."""
        arguments = [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{self.port}", "--workers", "2"]
        self.gateway = subprocess.Popen(arguments, cwd=ROOT, stderr=self._log("gateway"))

    def start_serve(self) -> None:
        """It starts the replicas."""
        arguments = [sys.executable, "-m", "bench.serving_replica", "serve"]
        self.serve = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=self._log("serve"))

    def _log(self, name: str) -> Any:
        return (self.running.places.home / f"{name}.log").open("ab")

    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas."""
        return [child for child in _children(self.serve) if command(child)]

    def workers(self) -> list[psutil.Process]:
        """The processes of the gateway that answer requests."""
        return [child for child in _children(self.gateway) if "serving.gateway" in command(child) and not child.nice()]

    def log_store(self) -> psutil.Process:
        """The process that stores the request log, the one with a lower priority."""
        return next(child for child in _children(self.gateway) if child.nice())

    def server(self, name: str) -> psutil.Process:
        """PostgreSQL or Valkey."""
        server: Postgres | Valkey = (Postgres if name == "postgres" else Valkey)(self.running.places)
        process = server.running()
        assert process is not None
        return process

    def restart_servers(self) -> None:
        """Starts what was killed."""
        lifecycle.restart_ended(self.running)

    async def post(self, client: aiohttp.ClientSession, text: str, seconds: float = 20.0) -> tuple[int, Any]:
        """Status and body; status 0 where there is no response."""
        try:
            async with client.post(
                f"http://127.0.0.1:{self.port}{EXTRACT}",
                json={"text": text},
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return 0, None

    async def load(self, client: aiohttp.ClientSession, begin: float) -> None:
        """One connection of the load, until it is cancelled."""
        due = time.monotonic() + begin
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + CONNECTIONS / PER_SECOND, time.monotonic())
            self.number += 1
            text = f"{self.number:09}"
            status, body = await self.post(client, f"Invoice {text}, total 12.50")
            if status == 200:
                right = body["output"]["invoice_id"] == text
                self.sent.append(Sent(time.monotonic(), status, body["request_id"], right, body["version"]))
            else:
                self.sent.append(Sent(time.monotonic(), status, "", right=False, version=0))

    async def whole(self) -> None:
        """Waits until every process runs and the last half second had no failed request."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            if self.gateway is not None and self.gateway.poll() is not None:  # as a service manager does
                self.start_gateway()
            since = time.monotonic()
            await asyncio.sleep(0.5)
            recent = [request for request in self.sent if request.ended > since]
            if recent and all(request.right for request in recent) and await self._is_whole():
                return
            if time.monotonic() > deadline:
                statuses = Counter(request.status for request in recent)
                state = f"{len(self.workers())} workers, {len(self.replicas())} replicas"
                log = (self.running.places.home / "gateway.log").read_text()[-3_000:]
                raise SystemExit(f"It does not recover: {state}; the last requests: {dict(statuses)}\n{log}")

    async def _is_whole(self) -> bool:
        from django.db import DatabaseError

        from serving.gateway.database import in_database
        from serving.models import Replica

        try:
            pids = await in_database(lambda: set(Replica.objects.ready().values_list("pid", flat=True)))
        except DatabaseError:
            return False
        return (
            pids == {replica.pid for replica in self.replicas()} and len(pids) == REPLICAS and len(self.workers()) == 2
        )


def _children(parent: "subprocess.Popen[bytes] | None") -> list[psutil.Process]:
    assert parent is not None
    return psutil.Process(parent.pid).children()


# -- faults: each makes one, and puts back what does not come back by itself -------------------------------------------

Fault = Callable[[Rig, float], Awaitable[None]]


async def _replica(rig: Rig, seconds: float) -> None:
    rig.replicas()[0].kill()


async def _replicas(rig: Rig, seconds: float) -> None:
    for replica in rig.replicas():
        replica.kill()


async def _gateway(rig: Rig, seconds: float) -> None:
    assert rig.gateway is not None
    rig.gateway.kill()
    await asyncio.to_thread(rig.gateway.wait)
    rig.start_gateway()


async def _worker(rig: Rig, seconds: float) -> None:
    rig.workers()[0].kill()


async def _log_store(rig: Rig, seconds: float) -> None:
    rig.log_store().kill()


async def _serve(rig: Rig, seconds: float) -> None:
    assert rig.serve is not None
    replicas = rig.replicas()
    rig.serve.kill()
    await asyncio.to_thread(rig.serve.wait)
    left = (await asyncio.to_thread(psutil.wait_procs, replicas, 2))[1]
    if any(command(process) for process in left):
        raise SystemExit("A replica outlives serve.")
    rig.start_serve()


def _away(name: str) -> Fault:
    async def fault(rig: Rig, seconds: float) -> None:
        rig.server(name).kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(rig.restart_servers)

    return fault


def _hangs(name: str) -> Fault:
    async def fault(rig: Rig, seconds: float) -> None:
        server = rig.server(name)
        family = [server, *server.children(recursive=True)]
        for process in family:
            process.suspend()
        await asyncio.sleep(seconds)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    return fault


async def _disk(rig: Rig, seconds: float) -> None:
    """No file can grow, in the middle of a line of the log."""
    workers = [worker.pid for worker in rig.workers()]
    infinity = resource.RLIM_INFINITY
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1_000, infinity))
    await asyncio.sleep(seconds)
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (infinity, infinity))


async def _hang_up(rig: Rig, seconds: float) -> None:
    """Callers that close the connection: the replicas stop answering them."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as client:
        asking = [asyncio.ensure_future(rig.post(client, "slow", 100)) for _ in range(HUNG_UP)]
        while await _slow(rig) < HUNG_UP:
            await asyncio.sleep(0.05)
        for request in asking:
            request.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    deadline = time.monotonic() + 10
    while await _slow(rig):
        if time.monotonic() > deadline:
            raise SystemExit("The replicas go on with documents of callers that have hung up.")
        await asyncio.sleep(0.05)


async def _slow(rig: Rig) -> int:
    from serving.gateway.database import in_database
    from serving.models import Replica
    from serving.replicas.addresses import secret

    number = 0
    for address in await in_database(lambda: list(Replica.objects.ready().values_list("address", flat=True))):
        connector = aiohttp.UnixConnector(address.removeprefix("unix:"))
        async with (
            aiohttp.ClientSession("http://replica", connector=connector) as client,
            client.get("/metrics", headers={"Authorization": f"Bearer {secret()}"}) as response,
        ):
            number += int((await response.text()).split()[1])
    return number


#: name -> title, seconds, seconds of --quick, fault
FAULTS: dict[str, tuple[str, float, float, Fault]] = {
    "replica": ("kill -9 of one of two replicas", 0, 0, _replica),
    "replicas": ("kill -9 of both replicas", 0, 0, _replicas),
    "worker": ("kill -9 of one of two gateway workers", 0, 0, _worker),
    "gateway": ("kill -9 of the gateway, started again at once", 0, 0, _gateway),
    "log_store": ("kill -9 of the process that stores the log", 0, 0, _log_store),
    "serve": ("kill -9 of serve, started again at once", 0, 0, _serve),
    "valkey": ("Valkey away for {:g} s", 5, 2, _away("valkey")),
    "valkey_hangs": ("Valkey hangs for {:g} s", 20, 3, _hangs("valkey")),
    "postgres": ("PostgreSQL away for {:g} s", 5, 3, _away("postgres")),
    "postgres_long": ("PostgreSQL away for {:g} s", 40, 17, _away("postgres")),
    "postgres_hangs": ("PostgreSQL hangs for {:g} s", 20, 8, _hangs("postgres")),
    "disk": ("full disk for {:g} s", 3, 1, _disk),
    "hang_up": (f"{HUNG_UP} callers hang up", 0, 0, _hang_up),
}


async def _measure(rig: Rig, name: str, *, quick: bool) -> Result:
    title, seconds, quick_seconds, fault = FAULTS[name]
    seconds = quick_seconds if quick else seconds
    await rig.whole()
    print(title.format(seconds), file=sys.stderr)
    first, began = len(rig.sent), time.monotonic()
    await fault(rig, seconds)
    await rig.whole()
    ended = time.monotonic()
    sent = rig.sent[first:]
    failed = [request for request in sent if request.status != 200]
    missing = await _missing({request.id for request in rig.sent[first - 100 :] if request.id})
    return Result(
        fault=title.format(seconds), requests=len(sent), failed=len(failed),
        wrong=sum(request.status == 200 and not request.right for request in sent),
        recovered=max((request.ended - began for request in failed), default=0.0), whole=ended - began, missing=missing,
        statuses=dict(Counter(request.status for request in failed)),
    )  # fmt: skip


async def _missing(ids: set[str]) -> int:
    """Requests that are not in the log, once nothing more arrives."""
    from serving.gateway.database import in_database
    from serving.models import RequestLog

    deadline = time.monotonic() + 60
    while True:
        left = len(ids) - await in_database(lambda: RequestLog.objects.filter(id__in=ids).count())
        if not left or time.monotonic() > deadline:
            return left
        await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def loaded(rig: Rig) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        loads = [asyncio.ensure_future(rig.load(client, n / PER_SECOND)) for n in range(CONNECTIONS)]
        try:
            yield
        finally:
            for load in loads:
                load.cancel()
            await asyncio.gather(*loads, return_exceptions=True)


async def _run(rig: Rig, names: list[str], *, quick: bool) -> list[Result]:
    rig.start_gateway()
    rig.start_serve()
    async with loaded(rig):
        return [await _measure(rig, name, quick=quick) for name in names]


@contextlib.contextmanager
def rig(replicas: int, **variables: str) -> Iterator[Rig]:
    """The servers and a release that ``bench.serving_replica`` answers for; what is started ends with the block."""
    with stack(API_REQUESTS_PER_MINUTE="1000000", REPLICA_SLOTS="64", **variables) as servers:
        from serving.models import Package
        from slmstudio.storage.artifacts import local_path

        token, release = deployed(replicas=replicas)
        folder = local_path("packages/bench")
        folder.mkdir()
        (folder / "schema").write_text(release.project.schema_version.compiled.hash)
        Package.objects.update(folder_key="packages/bench")
        processes = Rig(servers, free_port(), token)
        try:
            yield processes
        finally:
            for process in (processes.gateway, processes.serve):
                if process is not None:
                    process.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(30)


def main() -> None:
    """Starts everything, makes each fault, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faults", nargs="*", help=f"default: all of {', '.join(FAULTS)}")
    parser.add_argument("--quick", action="store_true", help="shorter outages, for the tests")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with rig(REPLICAS) as processes:
        results = asyncio.run(_run(processes, options.faults or list(FAULTS), quick=options.quick))
    if options.json:
        print(json.dumps([asdict(result) for result in results]))
        return
    heads = ("fault", "requests", "failed", "wrong", "seconds to recover", "until all run", "log rows missing")
    rows = [
        (result.fault, str(result.requests), f"{result.failed} {result.statuses or ''}".strip(), str(result.wrong),
         f"{result.recovered:.1f}", f"{result.whole:.1f}", str(result.missing))
        for result in results
    ]  # fmt: skip
    print(table(f"Faults at {PER_SECOND} requests a second", heads, rows))


if __name__ == "__main__":
    main()
