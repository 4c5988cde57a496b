"""What a run has told of its steps, kept beside its checkpoints so that it can be told again after a kill.

A line of JSON for each event, in the order of the steps. Pure Python.
"""

import json
import os
from pathlib import Path
from typing import Any

from training.ml.events import line_of

#: the events that are points of a run; all of them name their step
KINDS = ("metrics", "validation", "samples", "warning", "checkpoint")


class Told:
    """Keeps events in memory and, with ``flush``, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0  # bytes of the file that count; what lies behind them is overwritten
        self._waiting: list[str] = []

    def up_to(self, step: int) -> list[str]:
        """The lines about the steps up to ``step``. The file goes on behind them: later steps are taken again."""
        try:
            text = self._path.read_bytes()
        except OSError:
            return []  # of before there was such a file
        found = []
        self._size = 0
        for line in text.splitlines(keepends=True):
            if not line.endswith(b"\n") or not 0 <= _step(line) <= step:
                break
            self._size += len(line)
            found.append(line.decode().rstrip("\n"))
        return found

    def hear(self, event: str, values: dict[str, Any]) -> None:
        """Notes an event, where it is a point."""
        if event in KINDS:
            self._waiting.append(line_of(event, values))

    def flush(self) -> None:
        """Has everything so far on the disk. Where that fails, with an OSError, the next time writes all of it."""
        lines = "".join(f"{line}\n" for line in self._waiting).encode("utf-8", "backslashreplace")
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(lines)
        self._waiting = []


def _step(line: bytes) -> int:
    """The step of a point; -1 where the line is none."""
    try:
        event = json.loads(line)
        return int(event["step"]) if event["event"] in KINDS else -1
    except (ValueError, KeyError, TypeError):
        return -1
