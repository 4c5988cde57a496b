"""A backup is restored into an empty stack, and into no other."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from evaluation.audit import hash_chain
from labeling.models import DatasetVersion, Gold, Project
from slmstudio.stack import backup
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import sha256_file
from tests.evaluation.factories import World, make_world
from tests.stack.test_upgrade import execute, use

NAME = "test_restore"


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str], str]:
    """``secret("x")`` is a file with this secret."""

    def written(text: str) -> str:
        path = tmp_path / f"secret-{len(text)}"
        path.write_text(f"{text}\n")
        return str(path)

    return written


@pytest.fixture
def folder(world: World, tmp_path: Path, secret: Callable[[str], str]) -> Path:
    call_command("backup", str(tmp_path / "backup"), passphrase_file=secret("correct horse"))
    return tmp_path / "backup"


@pytest.fixture
def empty_stack(folder: Path, settings: Any, tmp_path: Path) -> Iterator[None]:
    """Another database of the server and another artifact store."""
    name = connection.settings_dict["NAME"]
    execute(f"DROP DATABASE IF EXISTS {NAME}")
    execute(f"CREATE DATABASE {NAME}")
    stores = settings.STORAGES
    settings.STORAGES = {**stores, "artifacts": {**stores["artifacts"], "OPTIONS": {"location": tmp_path / "new"}}}
    try:
        use(NAME)
        yield
    finally:
        use(name)
        execute(f"DROP DATABASE {NAME}")


def facts() -> Any:
    datasets = DatasetVersion.objects.order_by("pk")
    files = [sha256_file(artifacts.store().path(dataset.artifact_key)) for dataset in datasets]
    heads = [hash_chain.verify(project).head for project in Project.objects.order_by("pk")]
    labels = [*Gold.objects.order_by("pk").values_list("document__text", "revision__value")[:100]]
    return hash_chain.disabled_triggers(), heads, [dataset.sha256 for dataset in datasets], files, labels


@pytest.mark.parametrize("migrated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_everything_is_there_again(
    world: World, folder: Path, secret: Callable[[str], str], request: pytest.FixtureRequest, migrated: bool
) -> None:
    before = facts()
    assert all(before[1:])
    request.getfixturevalue("empty_stack")
    if migrated:
        call_command("migrate", verbosity=0)
    call_command("restore", str(folder), passphrase_file=secret("correct horse"))
    assert facts() == before
    with pytest.raises(CommandError, match="not empty"):  # by now
        call_command("restore", str(folder), passphrase_file=secret("correct horse"))
    assert facts() == before


@pytest.mark.slow
def test_nothing_can_be_read_without_the_key(world: World, folder: Path) -> None:
    text = world.project.documents.get(pk=world.project.documents.values("pk")[:1]).text.split()[0].encode()
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.name in (backup.MANIFEST, backup.IDENTITY)
        assert text not in path.read_bytes()
    assert "correct horse" not in (folder / backup.MANIFEST).read_text()


@pytest.mark.slow
def test_a_recipient_of_age(world: World, tmp_path: Path, secret: Any, request: pytest.FixtureRequest) -> None:
    key = pyrage.x25519.Identity.generate()
    target = tmp_path / "for recipient"
    call_command("backup", str(target), recipient=str(key.to_public()))
    before = facts()
    request.getfixturevalue("empty_stack")
    with pytest.raises(CommandError, match="identity is needed"):
        call_command("restore", str(target), passphrase_file=secret("anything"))
    call_command("restore", str(target), identity_file=secret(str(key)))
    assert facts() == before


def edit_manifest(folder: Path, **values: Any) -> None:
    path = folder / backup.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def truncate(folder: Path) -> None:
    path = folder / "artifacts.tar.age"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "artifacts.tar.age").unlink(), "artifacts.tar.age is missing"),
        (truncate, "changed or truncated"),
        (lambda folder: (folder / backup.MANIFEST).write_text("{"), "not the manifest"),
        (lambda folder: edit_manifest(folder, format=99), "newer version"),
        (lambda folder: edit_manifest(folder, migrations=["labeling.9999_future"]), "labeling.9999_future"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    folder: Path, empty_stack: None, secret: Callable[[str], str], damage: Callable[[Path], object], words: str
) -> None:
    damage(folder)
    with pytest.raises(CommandError, match=words):
        call_command("restore", str(folder), passphrase_file=secret("correct horse"))
    assert not execute("SELECT to_regclass('auth_user')")[0][0]
    assert not Path(artifacts.store().path("")).exists()


@pytest.mark.slow
def test_a_wrong_passphrase_changes_nothing(folder: Path, empty_stack: None, secret: Callable[[str], str]) -> None:
    with pytest.raises(CommandError, match="passphrase or identity is wrong"):
        call_command("restore", str(folder), passphrase_file=secret("wrong"))
    assert not execute("SELECT to_regclass('auth_user')")[0][0]


@pytest.mark.slow
def test_a_missing_file_is_named(world: World, tmp_path: Path, secret: Callable[[str], str]) -> None:
    Path(artifacts.store().path(world.dataset.artifact_key)).unlink()
    with pytest.raises(CommandError, match=f"dataset {world.project.slug}/1"):
        call_command("backup", str(tmp_path / "backup"), passphrase_file=secret("correct horse"))
    with pytest.raises(CommandError, match="is not empty"):
        call_command("backup", str(tmp_path / "backup"), passphrase_file=secret("correct horse"))
