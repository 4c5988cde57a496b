"""The events of a run, stored with its checkpoints so that a resumed run can repeat them.

One line of JSON per event, in the order of the steps. Pure.
"""

import json
import os
from pathlib import Path
from typing import Any

from training.ml.events import event_line

#: the events of a step; each has its step
RECORDED_EVENTS = ("metrics", "validation", "samples", "warning", "checkpoint")


class EventLog:
    """Records events in memory and, with ``flush``, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0  # valid bytes of the file; later ones are overwritten
        self._pending: list[str] = []

    def events_up_to(self, step: int) -> list[str]:
        """The lines of the steps up to ``step``. Later lines are overwritten: those steps are trained again."""
        try:
            text = self._path.read_bytes()
        except OSError:
            return []  # a run of an older version
        lines = []
        self._size = 0
        for line in text.splitlines(keepends=True):
            if not line.endswith(b"\n") or not 0 <= _step(line) <= step:
                break
            self._size += len(line)
            lines.append(line.decode().rstrip("\n"))
        return lines

    def record(self, event: str, values: dict[str, Any]) -> None:
        """Records an event of a step."""
        if event in RECORDED_EVENTS:
            self._pending.append(event_line(event, values))

    def flush(self) -> None:
        """Writes all recorded events to disk. After an OSError the next call writes them again."""
        lines = "".join(f"{line}\n" for line in self._pending).encode("utf-8", "backslashreplace")
        with open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            file.truncate(self._size)
            file.seek(self._size)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(lines)
        self._pending = []


def _step(line: bytes) -> int:
    """The step of an event; -1 where the line is not a valid one."""
    try:
        event = json.loads(line)
        return int(event["step"]) if event["event"] in RECORDED_EVENTS else -1
    except (ValueError, KeyError, TypeError):
        return -1
