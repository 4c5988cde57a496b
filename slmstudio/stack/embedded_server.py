"""What the embedded servers have in common: they are found by their pid file, and stopped by signals."""

import contextlib
import signal
import time
from pathlib import Path

import psutil

from slmstudio.stack import processes
from slmstudio.stack.errors import StackError
from slmstudio.stack.paths import Paths


class Server:
    """A server of one SLM_HOME. ``name`` is also what its processes are called, ``folder`` where they work."""

    name: str
    title: str
    #: after a crash a server first replays its log; on a slow disk that takes a while
    start_seconds: float
    stop_seconds: float
    #: from the most orderly to the most forceful
    stop_signals: tuple[signal.Signals, ...]

    def __init__(self, places: Paths, folder: Path, pid_file: Path, log: Path) -> None:
        self.places, self.folder, self.pid_file, self.log = places, folder, pid_file, log

    def running(self) -> psutil.Process | None:
        """The server's process, whichever process started it."""
        try:
            process = psutil.Process(int(self.pid_file.read_text().split("\n", 1)[0]))
        except (OSError, ValueError, psutil.Error):
            return None
        return process if processes.works_in(process, self.name, self.folder) else None

    def start(self) -> psutil.Process:
        """Starts the server and waits until it answers.

        Raises:
            StackError: it did not start; the message says why.
        """
        raise NotImplementedError

    def problem(self) -> str:
        """Why the server does not answer; "" if it does."""
        raise NotImplementedError

    def wait_ready(self) -> None:
        """Waits until a server that was already running answers.

        Raises:
            StackError: it does not respond.
        """
        deadline = time.monotonic() + self.start_seconds
        while problem := self.problem():
            if self.running() is None or time.monotonic() > deadline:
                raise StackError(f"{self.title} uses {self.folder} but does not respond: {problem}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stops the server, which saves its data first."""
        process = self.running()
        if process is None:
            return
        for number in self.stop_signals:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            if processes.ended(process, self.stop_seconds):
                return
