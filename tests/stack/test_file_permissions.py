"""Other accounts of the machine cannot read the studio's files."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from slmstudio.storage import artifacts
from slmstudio.storage.files import restrict_permissions

NOBODY = 65_534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def old_home() -> Iterator[Path]:
    """A home as earlier versions made it, reachable for everybody."""
    before = os.umask(0o022)
    top = Path(tempfile.mkdtemp(prefix="slm-private-"))
    top.chmod(0o755)
    home = top / "home"
    (home / "artifacts/datasets/1").mkdir(parents=True)
    (home / "artifacts/datasets/1/dataset.jsonl").write_text("a document")
    (home / "models").mkdir()
    (top / "open.txt").write_text("for everybody")
    yield home
    os.umask(before)
    shutil.rmtree(top)


def reads(path: Path) -> bool:
    """Whether another account can read it."""
    code = f"open({str(path)!r}).read()"
    command = [shutil.which("python3", path="/usr/bin:/bin") or sys.executable, "-c", code]
    options = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return subprocess.run(command, capture_output=True, cwd="/", check=False, **options).returncode == 0  # type: ignore[call-overload]


def test_an_existing_home_becomes_private(old_home: Path) -> None:
    secret = old_home / "artifacts/datasets/1/dataset.jsonl"
    if os.geteuid() == 0:  # only root can act as another account
        assert reads(secret)
    restrict_permissions(old_home)
    assert mode(old_home) & 0o066 == 0
    assert {mode(folder) for folder in old_home.iterdir()} == {0o700}
    if os.geteuid() == 0:
        assert not reads(secret)
        assert reads(old_home.parent / "open.txt")
    else:
        assert mode(old_home) == 0o700


def test_stored_files_are_private(settings: object) -> None:
    key = artifacts.store().save("private/folder/file.txt", ContentFile(b"a document"))
    path = artifacts.local_path(key)
    assert (mode(path), mode(path.parent), mode(path.parent.parent)) == (0o600, 0o700, 0o700)
    path.unlink()
