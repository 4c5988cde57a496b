"""``make demo``: a used port, the start until a page responds, and Ctrl+C."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from slmstudio.stack import machine
from slmstudio.stack.paths import Paths
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.processes import command, descendants
from slmstudio.stack.valkey import Valkey
from slmstudio.workers.hardware import Gpu, this_machine
from tests.conftest import ROOT
from tests.stack.conftest import running_in
from tests.stack.test_database_roles import assert_forbidden


def demo(home: Path, port: int, log: Path) -> "subprocess.Popen[bytes]":
    """The demo with the embedded servers below ``home``, without its training."""
    variables = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "slmstudio.stack.serve", "--no-loop"],
            cwd=ROOT,
            env={**variables, "SLM_HOME": str(home), "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def free_port() -> int:
    """A free port below the ephemeral range: a retried connection to an ephemeral port can reach itself.

    Not from a generator that a training seeds: two test processes would get the same port.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


def page(port: int) -> bytes:
    """The first page, retried for some seconds."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def until(pattern: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not re.search(pattern, log.read_text(errors="replace")):
        assert process.poll() is None, f"the demo ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"no {pattern!r} within {seconds} s:\n{log.read_text()}"
        time.sleep(0.1)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a demo with its servers after a failed test; killed at once, it would leave them running."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    process.kill()
    process.wait()


def test_a_used_port_is_an_error(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = demo(home, port, tmp_path / "log")
        assert process.wait(60) == 2
    assert (tmp_path / "log").read_text() == (
        f"Port {port} on 127.0.0.1 is used by another program; stop it or choose another with PORT={port + 1}.\n"
    )
    assert [*home.iterdir()] == []


def test_an_invalid_port_is_an_error(home: Path, tmp_path: Path) -> None:
    process = demo(home, 65_536, tmp_path / "log")
    assert process.wait(60) == 2
    assert "The environment variable PORT is '65536'; it must be a whole number" in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_start_and_ctrl_c(home: Path, tmp_path: Path) -> None:
    """All programs start, with private files and a role that owns no tables; what is killed is started again."""
    port, log = free_port(), tmp_path / "log"
    process = demo(home, port, log)
    try:
        until(f"ready at http://127.0.0.1:{port}/", process, log)
        assert b"SLM Studio" in page(port), log.read_text()
        until(r"worker +\| .*Listening on default, webhooks", process, log)
        until(r"imports +\| .*Listening on imports", process, log)
        until(r"gpu +\| .*Listening on gpu", process, log)
        assert_forbidden(Paths.of(home).database_url())
        programs = descendants(process.pid)
        if sys.platform == "linux":
            assert {umask(program) for program in programs} - {""} == {"0077"}
        web = [program for program in programs if "slmstudio.server" in command(program)]
        next(program for program in web if program.ppid() in {other.pid for other in web}).kill()
        until("A process of the web server ended", process, log)
        for server in (Valkey(Paths.of(home)), Postgres(Paths.of(home))):
            killed = server.running()
            assert killed is not None
            killed.kill()
            until(f"{server.title} had ended and was restarted", process, log)
        assert b"SLM Studio" in page(port), log.read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
        assert running_in(home) == []
    finally:
        end(process)


def umask(process: psutil.Process) -> str:
    """The umask of a process; "" once it has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next((line.split()[1] for line in lines if line.startswith("Umask:")), "")
    return ""


@pytest.mark.parametrize(
    ("installed", "preloaded", "missing"),
    [
        ({"apt-get", "g++"}, True, []),
        ({"apt-get", "g++"}, False, ["libtcmalloc-minimal4"]),
        ({"apt-get"}, False, ["libtcmalloc-minimal4", "g++", "python3-dev"]),
        ({"g++"}, False, []),
    ],
)
def test_packages_that_make_training_faster_are_named(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], preloaded: bool, missing: list[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(shutil, "which", lambda name: name if name in installed else None)
    monkeypatch.setattr(machine, "cpu_settings", lambda: {"LD_PRELOAD": "library"} if preloaded else {})
    monkeypatch.setattr(machine, "this_machine", lambda: replace(this_machine(), gpus=()))
    assert machine.packages_for_training() == missing
    gpu = Gpu(0, "uuid", "a GPU", 1)
    monkeypatch.setattr(machine, "this_machine", lambda: replace(this_machine(), gpus=(gpu,)))
    assert machine.packages_for_training() == []
