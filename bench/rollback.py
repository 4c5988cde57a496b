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
import time
from collections.abc import Callable
from typing import Any

from bench.harness import table
from bench.serving_faults import PER_SECOND, Rig, loaded, rig

REPLICAS = 1
_PATIENCE = 60.0


async def _measure(rig: Rig, change: Callable[[], Any], left: int, back: int) -> dict[str, float]:
    """Seconds of one change under load."""

    def versions(moment: float) -> set[int]:
        """Those that answered since."""
        return {request.version for request in rig.sent if request.ended > moment and request.status == 200}

    async def until(is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not is_so():
            if time.monotonic() > deadline:
                raise SystemExit(f"Not within {_PATIENCE:g} s: {what}")
            await asyncio.sleep(0.02)

    async with loaded(rig):
        await until(lambda: left in versions(time.monotonic() - 0.5), f"version {left} answers")
        began = time.monotonic()
        await asyncio.to_thread(change)
        called = time.monotonic()
        await until(
            lambda: time.monotonic() - began > 3 and versions(time.monotonic() - 2.0) == {back},
            f"only version {back} answers",
        )
    after = [request for request in rig.sent if request.ended >= began]
    return {
        "call": called - began,
        "last": max((request.ended - began for request in after if request.version == left), default=0.0),
        "first": min(request.ended - began for request in after if request.version == back),
        "requests": float(sum(request.status == 200 for request in after)),
        "failed": float(sum(request.status != 200 for request in after)),
    }


def _results(rig: Rig) -> dict[str, dict[str, float]]:
    from django.contrib.auth import get_user_model

    from serving.deployments import services
    from serving.models import Deployment, DeploymentEvent, Package, Release, Replica

    release, package = Release.objects.get(), Package.objects.get()
    package.pk, package.number = None, 2
    package.save()
    other = Release.objects.create(project=release.project, number=2, package=package)
    user = get_user_model().objects.get()

    def deployment() -> Any:
        return Deployment.objects.with_releases().get()

    def record(kind: str, version: Any) -> None:
        DeploymentEvent.objects.create(project=release.project, kind=kind, release=version, stable=deployment().stable)

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
    results = {}
    results["abort of a canary of 50%"] = asyncio.run(
        _measure(rig, lambda: services.abort(deployment=deployment(), user=user, reason="bench"), 2, 1)
    )
    Deployment.objects.update(candidate=other, stage="full", share=1.0)
    record("deployed", other)
    while deployment().stable_id != other.pk:
        if time.monotonic() > deadline + _PATIENCE:
            raise SystemExit("The candidate does not become stable.")
        time.sleep(0.1)
    time.sleep(2.5)
    results["rollback to the version before"] = asyncio.run(
        _measure(rig, lambda: services.roll_back(deployment=deployment(), user=user, reason="bench"), 2, 1)
    )
    return results


def main() -> None:
    """Starts everything, measures, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with rig(REPLICAS) as processes:
        results = _results(processes)
    if options.json:
        print(json.dumps(results))
        return
    heads = ("change", "call, s", "last response of the version left, s", "first of the other, s", "requests", "failed")
    rows = [
        (name, *(f"{result[key]:.2f}" for key in ("call", "last", "first")), f"{result['requests']:.0f}",
         f"{result['failed']:.0f}")
        for name, result in results.items()
    ]  # fmt: skip
    print(table(f"Rolling back at {PER_SECOND} requests a second", heads, rows))


if __name__ == "__main__":
    main()
