"""Errors at the start are one sentence: a full disk, missing permissions, a used port, an invalid file."""

import os
import pwd
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slmstudio import stack
from slmstudio.stack import StackError, account, environment
from slmstudio.stack.errors import MEBIBYTE
from slmstudio.stack.paths import Paths

Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_detected_before_writing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000 * MEBIBYTE, 9_500 * MEBIBYTE, 500 * MEBIBYTE))
    with pytest.raises(StackError) as caught:
        stack.start(home)
    assert all(part in str(caught.value) for part in (str(home), "1.1 GB", "524 MB"))
    assert not Paths.of(home).postgres.exists()


def as_nobody(act: Callable[[], object]) -> str:
    """What ``act`` raises when it runs without root's rights, in a fork of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            act()
            message = "nothing was raised"
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as pipe:
        message = pipe.read()
    os.waitpid(child, 0)
    return message


def test_a_folder_without_permission(home: Path) -> None:
    home.chmod(0o555)
    try:
        message = as_nobody(lambda: stack.start(home / "var"))
        assert message == (
            f"StackError: This account may not keep data in {home / 'var'}; "
            "give it the folder, or set SLM_HOME to another one."
        )
    finally:
        home.chmod(0o755)


@pytest.mark.slow
def test_data_of_another_version_is_an_error(home: Path) -> None:
    stack.stop(stack.start(home, ["postgres"]))
    version = Paths.of(home).postgres / "data" / "PG_VERSION"
    version.write_text("12\n")
    with pytest.raises(StackError, match=r"PostgreSQL did not start; its log .*postgres.log ends with: .*FATAL"):
        stack.start(home)


def test_foreign_folders_are_not_overwritten(home: Path) -> None:
    precious = Paths.of(home).postgres / "data" / "thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with pytest.raises(StackError, match="has no PostgreSQL data"):
        stack.start(home)
    assert precious.read_text() == "mine"


def test_which_commands_need_servers() -> None:
    for command, needs in {
        "": False, "help": False, "migrate --help": False, "check": False, "check --database default": True,
        "migrate": True, "rqworker gpu": True, "run_loop": True,
    }.items():  # fmt: skip
        assert environment.needs_servers(command.split()) is needs, command


def test_configured_servers_are_not_started(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_HOME", str(home))
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@elsewhere/db")
    monkeypatch.delenv("REDIS_URL")
    with environment.servers() as running:
        assert running is not None
        assert running.servers == ("valkey",)
        assert os.environ["DATABASE_URL"] == "postgresql://me@elsewhere/db"
        assert os.environ["REDIS_URL"] == running.redis_url
        assert not Paths.of(home).postgres.exists()
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    with environment.servers() as running:
        assert running is None


def test_starts_at_once_create_one_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """useradd looks for the account before it has the lock of /etc/passwd, so that two of them add it with two ids."""
    accounts = tmp_path / "passwd"
    accounts.touch()
    program = tmp_path / "useradd"
    program.write_text(
        f"""#!{sys.executable}
import os, time
time.sleep(0.2)
with open({str(accounts)!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
"""
    )
    program.chmod(0o755)

    def named(name: str) -> pwd.struct_passwd:
        ids = accounts.read_text().split()
        if not ids:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", int(ids[-1]), int(ids[-1]), "", "/", "/bin/false"))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", named)
    monkeypatch.setattr(shutil, "which", lambda name, path: str(program))
    with ThreadPoolExecutor(4) as threads:
        owners = list(threads.map(account.for_data, [tmp_path / f"{number}" for number in range(4)]))
    assert len(accounts.read_text().split()) == 1
    assert len(set(owners)) == 1
