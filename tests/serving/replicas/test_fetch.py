"""A host without the artifact store copies the package that it should serve."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from serving.deployments import services
from serving.models import Package, Replica
from serving.packages import jobs
from serving.packages.spec import FILE
from serving.replicas.supervisor import HostSupervisor, PackageFetcher
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash
from tests.evaluation.factories import World
from tests.serving.factories import approved_report
from tests.serving.packages.test_documents import child


@pytest.fixture
def package(world: World, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A package that was built with PACKAGE_STORE, and is not on this host."""
    settings.PACKAGE_STORE = str(tmp_path / "store")
    monkeypatch.setattr(jobs, "run_child", child)
    report = approved_report(world)
    services.deploy(project=world.project, user=world.engineer, stage="full", report=report)
    package: Package = Package.objects.with_content().get()
    jobs.build_package(package.pk)
    package.refresh_from_db()
    assert package.status == Status.DONE, package.error
    shutil.rmtree(local_path(package.folder_key))
    return package


def fetched(fetcher: PackageFetcher, package: Package) -> None:
    """Waits until a copy has ended. Raises Refused where it failed."""
    deadline = time.monotonic() + 20
    while not fetcher.is_here(package):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_package_is_copied_and_verified(package: Package, tmp_path: Path) -> None:
    fetcher = PackageFetcher()
    assert not fetcher.is_here(package)
    fetched(fetcher, package)
    assert folder_hash(local_path(package.folder_key)) == package.sha256
    shutil.rmtree(local_path(package.folder_key))
    (tmp_path / "store/invoices/1" / FILE).write_text("engine: vllm\n")
    with pytest.raises(Refused) as caught:
        fetched(fetcher, package)
    assert caught.value.code == "changed"
    assert not local_path(package.folder_key).exists()


def test_a_replica_starts_once_the_package_is_here(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []

    class Process:
        pid, identity, is_running, address, started = 1, None, True, "unix:/none", 0.0

        def __init__(self, folder: Path, **_: Any) -> None:
            started.append(folder)

    monkeypatch.setattr("serving.replicas.supervisor.ReplicaProcess", Process)
    supervisor = HostSupervisor()
    supervisor.step()
    assert started == []
    assert Replica.objects.get().state == Replica.State.STARTING
    deadline = time.monotonic() + 20
    while not started and time.monotonic() < deadline:
        supervisor.step()
        time.sleep(0.01)
    assert started == [local_path(package.folder_key)]
