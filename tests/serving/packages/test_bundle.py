"""Downloads of the offline bundle: who may, what is in it, and what is rejected."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from serving.deployments import queries, services
from serving.engines import PROMPT
from serving.ml.pack import prompt_template
from serving.models import Package, Release
from serving.packages.spec import FILE
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, folder_manifest
from tests.evaluation.factories import World
from tests.serving.factories import approved_report, built
from tests.serving.ml.engine_rig import served
from tests.shared_rows import shared_fixture

URL = "/p/invoices/deploy/releases/1/bundle.zip"
FILES = {"extract.pyz": b"PK", "model.gguf": b"GGUF", "prompt.json": b"{}\n", "model/tokenizer.json": b"{}"}


@shared_fixture
def release(world: World) -> Release:
    """A release whose package has the files of a bundle."""
    deployment = services.deploy(
        project=world.project, user=world.engineer, stage="full", report=approved_report(world)
    )
    candidate = deployment.candidate
    assert candidate is not None
    assert candidate.package is not None
    package = built(candidate.package)
    folder = local_path(package.folder_key)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    Package.objects.filter(pk=package.pk).update(files=folder_manifest(folder))
    return candidate


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


def test_a_package_is_downloaded_for_the_browser(world: World, release: Release, tmp_path: Path) -> None:
    assert release.package is not None
    folder = local_path(release.package.folder_key)
    spec, builder = served("llama_cpp", gguf="model.gguf")
    (folder / FILE).write_text(spec.to_yaml())
    (folder / PROMPT).write_text(json.dumps(prompt_template(builder), default=vars))
    before = sorted(folder.parent.iterdir())
    address = URL.replace("bundle.zip", "browser.zip")
    client = Client(headers={"HX-Request": "true"})
    client.force_login(world.engineer)
    assert address in client.get("/p/invoices/deploy/packages/").content.decode()
    answer = client.get(address)
    content = b"".join(answer.streaming_content)  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("invoices-release-1-browser/model/model.gguf") == b"GGUF"
        assert "invoices-release-1-browser/index.html" in archive.namelist()
    assert sorted(folder.parent.iterdir()) == before
    command = ["edge", "--project=invoices", f"--output={tmp_path / 'edge'}"]
    with pytest.raises(CommandError, match="files of the package have changed"):
        call_command(*command)
    Package.objects.update(sha256=folder_hash(folder))
    call_command(*command)
    assert (tmp_path / "edge/model/model.gguf").read_bytes() == b"GGUF"
    (folder / "model.gguf").unlink()
    assert client.get(address).status_code == 404
    Package.objects.update(files=[{"path": "model.gguf", "size": 4, "sha256": ""}])
    assert client.get(address).status_code == 404
    assert sorted(folder.parent.iterdir()) == before


def test_a_package_without_the_program_or_a_file_has_no_bundle(world: World, release: Release) -> None:
    def has_bundle() -> bool:
        deployment = queries.find(world.project)
        assert deployment is not None
        status = queries.status_of(deployment, deployment.candidate)
        assert status is not None
        return status.has_bundle

    def is_linked() -> bool:
        client = Client(headers={"HX-Request": "true"})
        client.force_login(world.engineer)
        return URL in client.get("/p/invoices/deploy/packages/").content.decode()

    assert has_bundle()
    assert is_linked()
    (local_path(f"packages/test/{release.package_id}") / "prompt.json").unlink()
    assert get(world.engineer).status_code == 404
    Package.objects.update(files=[{"path": "model.gguf", "size": 4, "sha256": ""}])
    assert not has_bundle()
    assert not is_linked()
    assert get(world.engineer).status_code == 404
