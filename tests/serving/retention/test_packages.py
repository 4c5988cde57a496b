"""Which packages keep their files."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from evaluation.models import Approval, AuditEntry
from serving.deployments import services
from serving.models import Deployment, Package, Release, Replica
from serving.packages.services import request_package
from serving.retention.packages import delete_all, delete_old, file_keys
from slmstudio.errors import Refused
from slmstudio.storage.artifacts import local_path
from tests.evaluation.factories import World, evaluated, right
from tests.serving.factories import answering, approved_report, built
from tests.serving.rollouts.rows import deployed


def with_files(package: Package) -> Package:
    """A built package with a file on disk."""
    built(package)
    folder = local_path(package.folder_key)
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"x" * 2_000_000)
    Package.objects.filter(pk=package.pk).update(files=[{"path": "model.gguf", "size": 2_000_000, "sha256": "a"}])
    package.refresh_from_db()
    return package


def unapproved(world: World) -> Package:
    """The package of an evaluation without a report."""
    return with_files(request_package(run=evaluated(world, right), user=world.engineer))


def folder(package: Package) -> Path:
    return local_path(f"packages/test/{package.pk}")


def deleted() -> list[int]:
    return list(Package.objects.exclude(deleted_at=None).order_by("number").values_list("number", flat=True))


def test_the_newest_stay(world: World, settings: Any, tmp_path: Path) -> None:
    settings.PACKAGE_STORE = str(tmp_path)
    packages = [unapproved(world) for _ in range(3)]
    copy = tmp_path / world.project.slug / "1" / "model.gguf"
    copy.parent.mkdir(parents=True)
    copy.touch()
    assert [package.number for package in delete_old(world.project, keep=2, dry_run=True)] == [1]
    assert folder(packages[0]).is_dir()
    assert deleted() == []
    assert delete_all(keep=2) == 1
    assert not folder(packages[0]).exists()
    assert not copy.parent.exists(), "nor its copy in the package store"
    assert all(folder(package).is_dir() for package in packages[1:])
    packages[0].refresh_from_db()
    assert (packages[0].is_ready, packages[0].folder_key, packages[0].sha256) == (False, "", f"{packages[0].pk:064x}")
    assert AuditEntry.objects.filter(action="deleted", about="package 1").count() == 1
    assert delete_all(keep=2) == 0
    assert list(file_keys(world.project)) == [package.folder_key for package in packages[1:]]
    # The files that a killed pass left are deleted by the next one.
    Package.objects.filter(pk=packages[1].pk).update(deleted_at=timezone.now())
    assert delete_old(world.project, keep=2) == []
    assert not folder(packages[1]).exists()


def test_what_serves_what_it_can_go_back_to_and_what_is_approved_stay(world: World) -> None:
    first = deployed(world).stable  # approved, as the second one
    second = deployed(world).stable
    assert first is not None
    assert second is not None
    shadow = unapproved(world)
    services.deploy(project=world.project, user=world.engineer, stage="shadow", run=shadow.eval_run)
    draining = unapproved(world)
    answering(Release.objects.create(project=world.project, number=9, package=draining))
    unapproved(world)
    delete_old(world.project, keep=0)
    assert deleted() == [5]
    Replica.objects.all().delete()
    services.abort(deployment=Deployment.objects.get(), user=world.engineer, reason="Done.")
    # Without their approvals: the one that answers, and the one before it.
    for release in (first, second):
        Approval.objects.filter(report=release.report).delete()
    third = deployed(world).stable
    assert third is not None
    Approval.objects.filter(report=third.report).delete()
    delete_old(world.project, keep=0)
    assert deleted() == [1, 3, 4, 5]


def test_a_deleted_package_is_built_again_as_another_one(world: World) -> None:
    report = approved_report(world)
    package = with_files(request_package(run=report.eval_run, user=world.engineer))
    Package.objects.filter(pk=package.pk).update(deleted_at=package.created_at)
    services.deploy(project=world.project, user=world.engineer, stage="full", report=report)
    release = Deployment.objects.get().candidate
    assert release is not None
    assert release.package is not None
    assert (release.package.number, release.package.status) == (2, "queued")


def test_there_is_no_way_back_to_a_deleted_package(world: World) -> None:
    first = deployed(world).stable
    deployment = deployed(world)
    assert first is not None
    Package.objects.filter(releases=first).update(deleted_at=deployment.updated_at)
    with pytest.raises(Refused) as caught:
        services.roll_back(deployment=deployment, user=world.engineer)
    assert caught.value.code == "no_package"


def test_the_command(world: World, settings: Any) -> None:
    settings.PACKAGES_KEPT = 1
    for _ in range(2):
        unapproved(world)
    out = StringIO()
    call_command("delete_packages", "--project", world.project.slug, "--dry-run", stdout=out)
    assert deleted() == []
    call_command("delete_packages", stdout=out)
    assert deleted() == [1]
    assert "1 packages deleted, 2 MB" in out.getvalue()
    for arguments in (("--project", "none"), ("--keep", "-1")):
        with pytest.raises(CommandError):
            call_command("delete_packages", *arguments)
