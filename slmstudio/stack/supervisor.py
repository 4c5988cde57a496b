"""Runs several programs at one terminal: output with prefixes, restart after a crash, an orderly shutdown.

Output goes through honcho's printer. Its manager is not used: it ends all programs when one ends, in no order, and
kills after five seconds programs that are still saving their work.
"""

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import psutil
from honcho.printer import Message, Printer

from slmstudio.runs import parent_death
from slmstudio.stack import processes

EXIT_WITH_PARENT = Path(parent_death.__file__)
_COLORS = ("36", "33", "35", "32")
#: a program that ran this long was healthy: the next crash counts as its first
HEALTHY_SECONDS = 20.0
MAX_CRASHES = 5


def restart_delay(crashes: int) -> float:
    """Seconds until the next start after so many crashes in a row."""
    return min(2.0 ** min(crashes - 1, 10), 30.0)


@dataclass
class Program:
    """A command to keep running. Times are in seconds.

    ``before_start`` may raise to forbid a start. If a ``vital`` program keeps crashing, all programs are stopped; other
    programs are restarted without limit. On shutdown the program gets SIGTERM and ``patience`` to finish its work; then
    its children get SIGTERM too; after another ``grace`` all are killed.
    """

    name: str
    command: Sequence[str]
    before_start: Callable[[], None] | None = None
    vital: bool = True
    patience: float = 5.0
    grace: float = 10.0


@dataclass
class _Started:
    program: Program
    child: "subprocess.Popen[bytes]"
    since: float
    reader: threading.Thread
    crashes: int = 0
    again_at: float | None = None
    family: list[psutil.Process] = field(default_factory=list)


class Supervisor:
    """Keeps programs running until asked to stop; ends them in the given order."""

    def __init__(self, programs: Sequence[Program], *, cwd: Path, env: dict[str, str]) -> None:
        self.programs = programs
        self.cwd = cwd
        self.env = env
        self._printer = Printer(sys.stdout, width=max(len(program.name) for program in programs))
        self._colours = dict(zip((program.name for program in programs), cycle(_COLORS), strict=False))
        self._print_lock = threading.Lock()
        self._started: dict[str, _Started] = {}
        self._signals = 0
        self._woken = threading.Event()

    def run(self, *, every: Callable[[], None] | None = None) -> int:
        """Runs until SIGINT, SIGTERM or SIGHUP (then 0), or until a vital program keeps crashing (then 1).

        Main thread only. ``every`` is called a few times a second. However it ends, also by an exception, the programs
        are stopped first.
        """
        previous = {n: signal.signal(n, self._on_signal) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            try:
                for program in self.programs:
                    if not self._signals:
                        self._start(program)
                while not self._signals:
                    if not self._restart_crashed():
                        return 1
                    if every is not None:
                        every()
                    self._woken.wait(0.2)
                return 0
            finally:
                self._signals = min(self._signals, 1)
                self._stop()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def say(self, text: str, name: str = "studio") -> None:
        """Prints lines in the style of the programs' output."""
        now = datetime.datetime.now()
        with self._print_lock:
            self._printer.write(Message("line", text, now, name, self._colours.get(name)))

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        self._woken.set()

    def _start(self, program: Program, crashes: int = 0) -> None:
        if program.before_start is not None:
            program.before_start()
        child = subprocess.Popen(
            [sys.executable, str(EXIT_WITH_PARENT), str(os.getpid()), *program.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.cwd,
            env=self.env,
            start_new_session=True,  # Ctrl+C at the terminal is for this process, which forwards it in order
        )
        reader = threading.Thread(target=self._relay, args=(program.name, child), daemon=True)
        reader.start()
        self._started[program.name] = _Started(program, child, time.monotonic(), reader, crashes)

    def _relay(self, name: str, child: "subprocess.Popen[bytes]") -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self.say(line.decode("utf-8", "replace").rstrip("\r\n"), name)

    def _restart_crashed(self) -> bool:
        """Restarts ended programs, with increasing delays; False when a vital one keeps crashing."""
        now = time.monotonic()
        for name, started in [*self._started.items()]:
            code = started.child.poll()
            if code is None:
                continue
            if started.again_at is None:
                crashes = 1 if now - started.since > HEALTHY_SECONDS else started.crashes + 1
                message = f"{name} {_ended(code)}"
                if crashes >= MAX_CRASHES:
                    message = f"{name} ended {crashes} times in a row; the reason is in its lines above"
                    if started.program.vital:
                        self.say(f"{message}. Stopping.")
                        return False
                wait = restart_delay(crashes)
                self.say(f"{message}; it restarts in {wait:.0f} s.")
                started.crashes, started.again_at = crashes, now + wait
            elif now >= started.again_at:
                self._start(started.program, started.crashes)
        return True

    def _stop(self) -> None:
        """Ends the programs one after the other, in the given order."""
        # All are asked to stop first, so that slow ones finish while the first are ended.
        for started in self._started.values():
            started.family = processes.descendants(started.child.pid)
            _send(started, signal.SIGTERM)
        for started in self._started.values():
            self._end(started)
        for started in self._started.values():
            started.reader.join(1)

    def _end(self, started: _Started) -> None:
        program = started.program
        if not self._wait(started, program.patience):
            started.family += processes.descendants(started.child.pid)
            for process in started.family:
                _signal_process(process, signal.SIGTERM)
            self._wait(started, program.grace)
        if started.child.poll() is None:
            started.family += processes.descendants(started.child.pid)
            self.say(f"{program.name} did not end by itself and is killed.")
            started.child.kill()
            started.child.wait()
        self._wait_for_family(started)

    def _wait_for_family(self, started: _Started) -> None:
        """Waits for the children, which end when their parent has ended, or kills them."""
        deadline = time.monotonic() + (started.program.patience if self._signals < 2 else 0.0)
        for process in started.family:
            if not processes.ended(process, deadline - time.monotonic()):
                _signal_process(process, signal.SIGKILL)

    def _wait(self, started: _Started, seconds: float) -> bool:
        """Whether the program has ended within the time; a second Ctrl+C ends the wait."""
        deadline = time.monotonic() + seconds
        while started.child.poll() is None:
            if time.monotonic() > deadline or self._signals > 1:
                return False
            time.sleep(0.02)
        return True


def _ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _send(started: _Started, number: signal.Signals) -> None:
    if started.child.poll() is None:
        started.child.send_signal(number)


def _signal_process(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        pass
