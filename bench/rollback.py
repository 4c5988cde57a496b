"""Seconds of a rollback and of an abort under load: ``python -m bench.rollback [--json]``.

Real processes, as in ``bench.serving_faults``: PostgreSQL, Valkey, a gateway with two workers, ``serve`` with replicas
without a model, and 100 requests a second. Measured from the call of the service that the button, the command and REST
call: until the last response of the version that is left, and until the first one of the version that it goes back to,
at the client. An abort of a canary needs no new replica; a rollback starts the replicas of the version before, and the
version that is left answers until they do. A real model also has to be loaded then.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.serving_faults import CONNECTIONS, PER_SECOND, Rig
from bench.studio import free_port
from bench.timing import table
from slmstudio.stack import environment
from slmstudio.stack.environment import ROOT

REPLICAS = 1
_PATIENCE = 60.0
_PATH = "/api/v1/projects/bench/extract"


class Load:
    """Requests with the time of each response and the version that answered."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.answered: list[tuple[float, int]] = []
        self.failed: list[float] = []
        self._number = 0

    async def run(self, client: aiohttp.ClientSession, begin: float) -> None:
        """One connection, until it is cancelled."""
        due = time.monotonic() + begin
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + CONNECTIONS / PER_SECOND, time.monotonic())
            self._number += 1
            status, body = await self.rig.post(client, f"Invoice {self._number:09}, total 12.50")
            if status == 200:
                self.answered.append((time.monotonic(), body["version"]))
            else:
                self.failed.append(time.monotonic())

    async def until(self, wanted: Callable[[], bool], what: str) -> None:
        """Waits for the load to see something."""
        deadline = time.monotonic() + _PATIENCE
        while not wanted():
            if time.monotonic() > deadline:
                raise SystemExit(f"Not within {_PATIENCE:g} s: {what}")
            await asyncio.sleep(0.02)

    def since(self, moment: float) -> set[int]:
        """The versions that answered since."""
        return {version for at, version in self.answered if at > moment}


async def _measure(rig: Rig, change: Callable[[], Any], left: int, back: int) -> dict[str, float]:
    """Seconds of one change under load."""
    load = Load(rig)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as client:
        tasks = [asyncio.ensure_future(load.run(client, n / PER_SECOND)) for n in range(CONNECTIONS)]
        try:
            await load.until(lambda: left in load.since(time.monotonic() - 0.5), f"version {left} answers")
            began = time.monotonic()
            await asyncio.to_thread(change)
            called = time.monotonic()

            def settled() -> bool:
                now = time.monotonic()
                return now - began > 3 and load.since(now - 2.0) == {back}

            await load.until(settled, f"only version {back} answers")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    after = [(at, version) for at, version in load.answered if at >= began]
    return {
        "call": called - began,
        "last": max((at - began for at, version in after if version == left), default=0.0),
        "first": min(at - began for at, version in after if version == back),
        "requests": float(len(after)),
        "failed": float(sum(at >= began for at in load.failed)),
    }


def _results(rig: Rig, release: Any) -> dict[str, dict[str, float]]:
    from django.contrib.auth import get_user_model

    from serving.deployments import services
    from serving.models import Deployment, DeploymentEvent, Package, Release, Replica
    from slmstudio.storage.artifacts import local_path

    folder = local_path("packages/bench")
    folder.mkdir(exist_ok=True)
    (folder / "schema").write_text(release.project.schema_version.compiled.hash)
    package = Package.objects.get()
    package.folder_key = "packages/bench"
    package.save()
    package.pk, package.number = None, 2
    package.save()
    other = Release.objects.create(project=release.project, number=2, package=package)
    user = get_user_model().objects.get()

    def deployment() -> Any:
        return Deployment.objects.with_releases().get()

    def record(kind: str, one: Any) -> None:
        DeploymentEvent.objects.create(project=release.project, kind=kind, release=one, stable=deployment().stable)

    record("deployed", release)
    Deployment.objects.update(candidate=other, stage="canary", share=0.5)
    record("deployed", other)
    rig.start_gateway()
    rig.start_serve()
    deadline = time.monotonic() + _PATIENCE
    while Replica.objects.ready().count() < 2 * REPLICAS:
        if time.monotonic() > deadline:
            raise SystemExit("The replicas do not start.")
        time.sleep(0.1)
    time.sleep(2.5)  # the gateway has read the routes
    found = {}
    found["abort of a canary of 50%"] = asyncio.run(
        _measure(rig, lambda: services.abort(deployment=deployment(), user=user, reason="bench"), 2, 1)
    )
    Deployment.objects.update(candidate=other, stage="full", share=1.0)
    record("deployed", other)
    while deployment().stable_id != other.pk:
        if time.monotonic() > deadline + _PATIENCE:
            raise SystemExit("The candidate does not become stable.")
        time.sleep(0.1)
    time.sleep(2.5)
    found["rollback to the version before"] = asyncio.run(
        _measure(rig, lambda: services.roll_back(deployment=deployment(), user=user, reason="bench"), 2, 1)
    )
    return found


def main() -> None:
    """Starts everything, measures, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for variable in ("DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(variable, None)
    home = Path(tempfile.mkdtemp(prefix="slm-rollback-"))
    os.environ |= {
        "SLM_HOME": str(home), "DJANGO_SETTINGS_MODULE": "slmstudio.settings", "SECRET_KEY": "abcdefgh" * 4,
        "API_REQUESTS_PER_MINUTE": "1000000", "REPLICA_SLOTS": "64",
    }  # fmt: skip
    try:
        with environment.servers() as running:
            assert running is not None
            subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, check=True)
            os.environ.pop("DATABASE_OWNER_URL", None)
            results = _run(running)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        print(json.dumps(results))
        return
    heads = ("change", "call, s", "last response of the version left, s", "first of the other, s", "requests", "failed")
    rows = [
        (name, f"{one['call']:.2f}", f"{one['last']:.2f}", f"{one['first']:.2f}", f"{one['requests']:.0f}",
         f"{one['failed']:.0f}")
        for name, one in results.items()
    ]  # fmt: skip
    print(table(f"Rolling back at {PER_SECOND} requests a second", heads, rows))


def _run(running: Any) -> dict[str, dict[str, float]]:
    import django

    django.setup()
    from django.db import connections

    from bench.serving import deployed

    token, release = deployed(replicas=REPLICAS)
    rig = Rig(running, free_port(), token)
    try:
        return _results(rig, release)
    finally:
        for process in (rig.gateway, rig.serve):
            if process is not None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        connections.close_all()


if __name__ == "__main__":
    main()
