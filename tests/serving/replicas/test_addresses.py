"""Where replicas listen."""

from pathlib import Path
from typing import Any

import pytest

from serving.replicas import addresses
from slmstudio.stack.errors import StackError
from slmstudio.stack.paths import Paths


@pytest.fixture
def short(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is used where the path of a socket below SLM_HOME is too long."""
    settings.HOME, settings.REPLICA_BIND = tmp_path / ("long" * 40), ""
    found = tmp_path / "short"
    monkeypatch.setattr(Paths, "socket_folder", lambda self, folder, name: found)
    return found


def test_sockets_are_in_a_folder_of_this_account_alone(short: Path) -> None:
    address = addresses.new_address("3-0")
    assert address == f"unix:{short}/3-0.sock"
    assert short.stat().st_mode & 0o777 == 0o700


def test_a_folder_of_another_account_is_not_used(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone may make a folder with this name in /tmp, and would get the documents."""
    short.mkdir()
    monkeypatch.setattr("os.geteuid", lambda: short.stat().st_uid + 1)
    with pytest.raises(StackError):
        addresses.new_address("3-0")


def test_a_link_is_not_followed(short: Path, tmp_path: Path) -> None:
    short.symlink_to(tmp_path)
    with pytest.raises(StackError):
        addresses.new_address("3-0")
