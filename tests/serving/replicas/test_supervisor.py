"""Replicas whose process ends."""

from typing import Any

import pytest

from serving.models import Deployment, Replica, ReplicaCrash
from serving.replicas import supervisor as supervisor_module
from serving.replicas.supervisor import HostSupervisor, PackageFetcher


class Process:
    """A process that the test ends."""

    pid, address, started, failure = 1, "unix:/none", 0.0, "It ran out of memory."

    def __init__(self, *_: Any, sha256: str, **__: Any) -> None:
        self.identity: dict[str, str] = {"package": sha256}
        self.is_running = True


def test_a_crash_is_recorded_where_the_replica_had_answered(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = deployment.stable
    assert release is not None
    assert release.package is not None
    schema = release.package.eval_run.dataset.schema_version.compiled.hash
    started: list[Process] = []

    def start(*arguments: Any, **options: Any) -> Process:
        process = Process(*arguments, **options)
        process.identity = process.identity | {"schema": schema} if started else {}  # the first one never answers
        started.append(process)
        return process

    monkeypatch.setattr(supervisor_module, "ReplicaProcess", start)
    monkeypatch.setattr(supervisor_module, "restart_delay", lambda failures: 0.0)
    monkeypatch.setattr(PackageFetcher, "is_here", lambda self, package: True)
    supervisor = HostSupervisor()
    for _ in range(2):
        supervisor.step()
    assert Replica.objects.get(host=supervisor.host).state == Replica.State.STARTING
    started[0].is_running = False  # before it answered: nothing that traffic could have caused
    for _ in range(3):
        supervisor.step()
    assert Replica.objects.get(host=supervisor.host).state == Replica.State.READY
    assert not ReplicaCrash.objects.exists()
    started[1].is_running = False
    supervisor.step()
    crash = ReplicaCrash.objects.get()
    assert (crash.release, crash.host, crash.error) == (release, supervisor.host, "It ran out of memory.")
    assert Replica.objects.get(host=supervisor.host).state == Replica.State.FAILED
