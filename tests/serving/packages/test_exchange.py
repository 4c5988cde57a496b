"""Packages are pushed to a hub or a folder, pulled, and verified before anything uses them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from serving.models import Package
from serving.packages import exchange
from serving.packages.documents.manifest import write_manifest
from serving.packages.services import request_package
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, folder_manifest
from tests.evaluation.factories import World
from tests.serving.factories import approved_report
from tests.serving.packages.hub import TOKEN, Hub, hub
from tests.serving.packages.test_documents import keys

FILES = {
    "serve.yaml": b"engine: transformers\n", "README.md": "# Card, ü\n".encode(),
    "model/model.safetensors": b"weights" * 1000, "model/tokenizer.json": b"{}", "model-q8_0.gguf": b"GGUF" * 1000,
}  # fmt: skip


def write(folder: Path) -> list[str]:
    """A package with a manifest; gives its files."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_manifest(folder, project="invoices", package=1, engine="transformers", built_at="2026-11-28T12:00:00+00:00")
    return [entry["path"] for entry in folder_manifest(folder)]


@pytest.fixture
def package(tmp_path: Path) -> tuple[Path, list[str]]:
    """The folder of a package and its files."""
    folder = tmp_path / "built"
    return folder, write(folder)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT names."""
    from huggingface_hub import constants

    with hub() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        for name, value in (("HF_HUB_DISABLE_XET", True), ("HF_HUB_OFFLINE", False)):
            monkeypatch.setattr(constants, name, value)
        yield found


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        work()
    return caught.value.code


def test_a_package_goes_to_a_hub_and_comes_back(package: tuple[Path, list[str]], running: Hub, tmp_path: Path) -> None:
    folder, files = package
    (folder.parent / "built" / "note.txt").unlink(missing_ok=True)
    address = exchange.push(folder, "hf:team/invoices", files=files, message="Package 1")
    assert address.startswith(f"{running.address}/team/invoices/commit/")
    assert running.repositories["team/invoices"] == {**FILES, "package.json": (folder / "package.json").read_bytes()}
    created = running.created[0]
    assert (created["name"], created["organization"], created["visibility"]) == ("invoices", "team", "private")
    assert sorted(running.large.values()) == sorted([FILES["model/model.safetensors"], FILES["model-q8_0.gguf"]])
    running.repositories["team/invoices"]["of-the-package-before.gguf"] = b"GGUF"
    exchange.push(folder, "hf:team/invoices", files=files, message="Package 1 again")
    found = exchange.pull("hf:team/invoices", tmp_path / "pulled", sha256=folder_hash(folder))
    assert found == folder_hash(tmp_path / "pulled") == folder_hash(folder)


def test_what_was_changed_on_the_way_is_not_used(package: tuple[Path, list[str]], running: Hub, tmp_path: Path) -> None:
    folder, files = package
    exchange.push(folder, "hf:team/invoices", files=files, message="Package 1")
    there = running.repositories["team/invoices"]
    kept = dict(there)
    for change in ({"serve.yaml": b"engine: vllm\n"}, {"model/code.py": b"import os"}, {"package.json": b"{}"}):
        running.repositories["team/invoices"] = {**kept, **change}
        assert code_of(lambda: exchange.pull("hf:team/invoices", tmp_path / "pulled")) == "changed"
    running.repositories["team/invoices"] = kept
    assert code_of(lambda: exchange.pull("hf:team/invoices", tmp_path / "pulled", sha256="0" * 64)) == "hash"
    assert [path.name for path in tmp_path.iterdir()] == ["built"]


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_package_goes_to_a_folder_or_an_object_store(
    package: tuple[Path, list[str]], tmp_path: Path, place: str
) -> None:
    folder, files = package
    where = str(tmp_path / "share/invoices") if place == "folder" else f"memory://{tmp_path.name}/invoices"
    exchange.push(folder, where, files=files, message="")
    exchange.pull(where, tmp_path / "pulled")
    assert folder_hash(tmp_path / "pulled") == folder_hash(folder)
    assert code_of(lambda: exchange.pull(where, tmp_path / "pulled")) == "target"
    assert code_of(lambda: exchange.pull(f"{where}/none", tmp_path / "other")) == "place"
    assert code_of(lambda: exchange.push(folder, "unknown://x", files=files, message="")) == "place"


def test_a_manifest_cannot_name_files_outside(package: tuple[Path, list[str]], tmp_path: Path) -> None:
    folder, _ = package
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((folder / "package.json").read_text())
    manifest["files"].append({"path": "../secret", "size": 6, "sha256": "0" * 64})
    (folder / "package.json").write_text(json.dumps(manifest))
    assert code_of(lambda: exchange.pull(str(folder), tmp_path / "pulled")) == "changed"
    assert code_of(lambda: exchange.push(folder, str(tmp_path / "x"), files=["serve.yaml"], message="")) == "changed"


def test_only_a_signed_package_is_pulled_where_a_key_is_set(tmp_path: Path, settings: Any) -> None:
    unsigned = tmp_path / "unsigned"
    write(unsigned)
    private, public = keys(tmp_path)
    settings.PACKAGE_SIGNING_KEY = private
    files = write(tmp_path / "signed")
    settings.PACKAGE_SIGNING_KEY, settings.PACKAGE_PUBLIC_KEY = "", public
    assert code_of(lambda: exchange.pull(str(unsigned), tmp_path / "pulled")) == "unsigned"
    exchange.push(tmp_path / "signed", str(tmp_path / "share"), files=files, message="")
    exchange.pull(str(tmp_path / "share"), tmp_path / "pulled")
    settings.PACKAGE_PUBLIC_KEY = keys(tmp_path, "other")[1]
    assert code_of(lambda: exchange.pull(str(tmp_path / "share"), tmp_path / "again")) == "signature"


def test_the_commands_push_and_restore_a_package(world: World, tmp_path: Path) -> None:
    package = request_package(run=approved_report(world).eval_run, user=world.engineer)
    folder = local_path("packages/1/1")
    write(folder)
    Package.objects.filter(pk=package.pk).update(
        status=Status.DONE, folder_key="packages/1/1", files=folder_manifest(folder), sha256=folder_hash(folder)
    )
    place = str(tmp_path / "share")
    call_command("push_package", place, "--project", "invoices", verbosity=0)
    folder.rename(tmp_path / "lost")
    call_command("pull_package", place, "--project", "invoices", "--package", "1", verbosity=0)
    assert folder_hash(folder) == folder_hash(tmp_path / "lost")
    call_command("pull_package", place, "--output", str(tmp_path / "copy"), verbosity=0)
    for arguments in (["--output", str(tmp_path / "copy")], [], ["--project", "invoices", "--package", "7"]):
        with pytest.raises(CommandError):
            call_command("pull_package", place, *arguments, verbosity=0)
    with pytest.raises(CommandError):
        call_command("push_package", place, "--project", "invoices", "--package", "7")
