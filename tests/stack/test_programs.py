"""Programs at one terminal: restarted after a crash, stopped in order, without leftovers."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from slmstudio.stack.supervisor import restart_delay
from tests.conftest import ROOT

# argv: one PYTHON-SOURCE for each program, named a, b, c ...
MAIN = """
import os, sys
from pathlib import Path
from slmstudio.stack.supervisor import Program, Supervisor
programs = [
    Program(chr(97 + n), (sys.executable, "-c", source), patience=float(os.environ.get("PATIENCE", 0.5)), grace=1.0)
    for n, source in enumerate(sys.argv[1:])
]
sys.exit(Supervisor(programs, cwd=Path.cwd(), env=dict(os.environ)).run())
"""
POLITE = """
import signal, sys, time, os
def bye(*_): print('bye', flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, bye)
print('up', os.getpid(), flush=True)
time.sleep(60)
"""
STUBBORN = """
import os, signal, time
signal.signal(15, lambda *_: print('asked', flush=True))
print('up', os.getpid(), flush=True)
while True:
    time.sleep(60)
"""
PARENT = """
import os, signal, subprocess, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)
print('up', os.getpid(), child.pid, flush=True)
code = child.wait()
print('my child ended with', code, flush=True)
"""


class Session:
    """A supervisor in a process of its own, and its output."""

    def __init__(self, *sources: str, patience: float = 0.5) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, *sources],
            cwd=ROOT,
            env={**os.environ, "PATIENCE": str(patience)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self.pids: list[int] = []

    def until(self, pattern: str, times: int = 1) -> None:
        """Reads on until the pattern was seen so often."""
        assert self.process.stdout is not None
        while len(re.findall(pattern, self.output)) < times:
            line = self.process.stdout.readline()
            assert line, f"ended without {pattern!r}:\n{self.output}"
            self.output += line
        self.pids = [int(pid) for line in re.findall(r"up ([\d ]+)", self.output) for pid in line.split()]

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.finish()

    def finish(self) -> int:
        assert self.process.stdout is not None
        with self.process.stdout as stream:  # not communicate(): it loses what readline has in its buffer
            self.output += stream.read()
        return self.process.wait(30)

    def left(self) -> list[int]:
        """Which of the programs still run."""
        deadline = time.monotonic() + 3
        while (running := [pid for pid in self.pids if alive(pid)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return running


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(number: signal.Signals) -> None:
    session = Session(POLITE, POLITE)
    session.until("up", 2)
    assert session.end(number) == 0
    assert len(re.findall(r"[ab] +\| bye", session.output)) == 2
    assert session.left() == []


@pytest.mark.slow
def test_programs_that_ignore_sigterm_are_killed() -> None:
    session = Session(STUBBORN, POLITE)
    session.until("up", 2)
    assert session.end(signal.SIGINT) == 0
    assert "a did not end by itself and is killed" in session.output
    assert session.left() == []


def test_a_second_interrupt_does_not_wait() -> None:
    session = Session(STUBBORN, STUBBORN, STUBBORN, patience=40)
    session.until("up", 3)
    began = time.monotonic()
    session.process.send_signal(signal.SIGINT)
    session.until("asked", 3)
    assert session.end(signal.SIGINT) == 0
    assert time.monotonic() - began < 30
    assert session.left() == []


def test_a_busy_workers_children_are_signaled() -> None:
    session = Session(PARENT)
    session.until("up")
    assert session.end(signal.SIGINT) == 0
    assert f"my child ended with {-signal.SIGTERM}" in session.output
    assert session.left() == []


@pytest.mark.slow
def test_a_crashed_program_starts_again() -> None:
    session = Session(POLITE, POLITE)
    session.until("up", 2)
    os.kill(session.pids[0], signal.SIGKILL)
    session.until("up", 3)
    assert "was ended by SIGKILL; it restarts in 1 s" in session.output
    assert session.end(signal.SIGINT) == 0
    assert session.left() == []


@pytest.mark.slow
def test_optional_programs_restart_without_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    sooner = MAIN.replace("programs = [", "import slmstudio.stack.supervisor as p; p.MAX_CRASHES = 2\nprograms = [")
    monkeypatch.setattr(f"{__name__}.MAIN", sooner.replace("grace=1.0", "grace=1.0, vital=n == 0"))
    session = Session(POLITE, "import sys; sys.exit('no such thing')")
    session.until(r"b +\| no such thing", 3)
    assert "b ended 2 times in a row; the reason is in its lines above; it restarts in 2 s." in session.output
    assert alive(session.pids[0])
    assert session.end(signal.SIGINT) == 0
    assert re.search(r"a +\| bye", session.output)
    assert session.left() == []


def test_restart_delays_grow_up_to_a_limit() -> None:
    assert [restart_delay(crashes) for crashes in (1, 2, 3, 5, 6, 100_000)] == [1, 2, 4, 16, 30, 30]


def test_kill_9_of_the_supervisor_ends_the_programs() -> None:
    session = Session(POLITE, POLITE)
    session.until("up", 2)
    session.process.kill()
    session.process.wait()
    assert session.left() == []
    session.finish()


def test_a_vital_program_that_keeps_crashing_stops_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sooner = MAIN.replace("programs = [", "import slmstudio.stack.supervisor as p; p.MAX_CRASHES = 2\nprograms = [")
    monkeypatch.setattr(f"{__name__}.MAIN", sooner)
    session = Session(POLITE, "import sys; sys.exit('no such thing')")
    session.until("up")
    assert session.finish() == 1
    assert len(re.findall(r"b +\| no such thing", session.output)) == 2
    assert "b ended 2 times in a row" in session.output
    assert session.left() == []
