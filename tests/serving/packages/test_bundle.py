"""Downloads of the offline bundle: who may, what is in it, and what is rejected."""

import io
import zipfile
from typing import Any

import pytest
from django.test import Client

from serving.deployments import queries, services
from serving.models import Package, Release
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest
from tests.evaluation.factories import World
from tests.serving.factories import approved_report, built
from tests.shared_rows import shared_fixture

URL = "/p/invoices/deploy/releases/1/bundle.zip"
FILES = {"extract.pyz": b"PK", "model.gguf": b"GGUF", "prompt.json": b"{}\n", "model/tokenizer.json": b"{}"}


@shared_fixture
def release(world: World) -> Release:
    """A release whose package has the files of a bundle."""
    deployment = services.deploy(
        project=world.project, user=world.engineer, stage="full", report=approved_report(world)
    )
    found = deployment.candidate
    assert found is not None
    assert found.package is not None
    package = built(found.package)
    folder = local_path(package.folder_key)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    Package.objects.filter(pk=package.pk).update(files=folder_manifest(folder))
    return found


def get(user: Any) -> Any:
    client = Client()
    client.force_login(user)
    return client.get(URL)


def test_the_bundle_has_every_recorded_file(world: World, release: Release) -> None:
    assert release.package is not None
    (local_path(f"packages/test/{release.package_id}") / "stray.txt").write_text("not recorded")
    answer = get(world.engineer)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="invoices-release-1.zip"'
    content = b"".join(answer.streaming_content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {name.removeprefix("invoices-release-1/"): archive.read(name) for name in archive.namelist()} == FILES


@pytest.mark.parametrize(
    ("who", "status"), [("annotator", 403), ("stranger", 404), ("manager", 200), ("engineer", 200), ("owner", 200)]
)
def test_members_who_may_deploy_download_it(world: World, release: Release, who: str, status: int) -> None:
    assert get(getattr(world, who)).status_code == status


def test_a_package_without_the_program_has_no_bundle(world: World, release: Release) -> None:
    found = queries.find(world.project)
    assert found is not None
    assert queries.status_of(found, found.candidate).has_bundle  # type: ignore[union-attr]
    Package.objects.update(files=[{"path": "model.gguf", "size": 4, "sha256": ""}])
    found = queries.find(world.project)
    assert found is not None
    assert not queries.status_of(found, found.candidate).has_bundle  # type: ignore[union-attr]
    assert get(world.engineer).status_code == 404


def test_a_missing_file_is_no_bundle(world: World, release: Release) -> None:
    (local_path(f"packages/test/{release.package_id}") / "prompt.json").unlink()
    assert get(world.engineer).status_code == 404
