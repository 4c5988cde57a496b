"""A child process that opens a file for the studio and writes lines: started, read with a deadline, ended."""

import os
import selectors
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from slmstudio.runs.child_environment import child_environment

_ROOT: Final = Path(__file__).resolve().parents[3]


class ChildStopped(Exception):
    """The import was cancelled while the child was reading."""


class LineChild:
    """``python -m module arguments``, with these variables in its environment; ``log`` takes its standard error."""

    def __init__(
        self, module: str, *arguments: str, environment: Mapping[str, str], log: IO[bytes] | int = subprocess.DEVNULL
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=_ROOT,
            env={**child_environment(), **environment},
            start_new_session=True,
        )
        self._lines: deque[bytes] = deque()
        self._pieces: list[bytes] = []

    def send(self, line: bytes) -> None:
        """Writes a line to the child.

        Raises:
            BrokenPipeError: it has ended.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def line(self, seconds: float, stopped: Callable[[], bool]) -> bytes | None:
        """The next line; None once the child has ended.

        Raises:
            ChildStopped: ``stopped`` returns True.
            TimeoutError: the child wrote nothing for some seconds.
        """
        if self._lines:
            return self._lines.popleft()
        assert self.process.stdout is not None
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not self._lines:
                if stopped():
                    raise ChildStopped
                if time.monotonic() > until:
                    raise TimeoutError
                if not selector.select(timeout=0.5):
                    continue
                piece = os.read(self.process.stdout.fileno(), 1 << 18)
                if not piece:
                    return None
                until = time.monotonic() + seconds
                first, *more = piece.split(b"\n")
                self._pieces.append(first)
                for following in more:
                    self._lines.append(b"".join(self._pieces))
                    self._pieces = [following]
        return self._lines.popleft()

    def close(self) -> None:
        """Ends the child."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass
