"""How a child process talks: events as JSON lines on standard output, a sentence on refusal, an exit code.

Exit codes: 0 done, 2 refused or failed with an ``error`` event that a person understands, anything else a crash whose
traceback is on standard error.
"""

import contextlib
import ctypes
import errno
import json
import math
import os
import signal
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from slmstudio.errors import Refused
from slmstudio.runs.exit_messages import ERROR_PREFIX
from training.ml.hardware.contention import make_room
from training.strict_yaml import SpecError

Spec = TypeVar("Spec")
_PR_SET_PDEATHSIG = 1


class Emitter:
    """Writes one JSON object a line; safe to call from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str, dict[str, Any]], None]] = []

    def follow(self, listener: Callable[[str, dict[str, Any]], None]) -> None:
        """Has ``listener`` called with the name and the values of every event from here on."""
        self._listeners.append(listener)

    def emit(self, event: str, **values: Any) -> None:
        """Writes the event. NaN and infinities become null, since JSON has none."""
        self.repeat(line_of(event, values))
        for listener in self._listeners:
            listener(event, values)

    def repeat(self, line: str) -> None:
        """Writes an event that was told before, as ``line_of`` gave it. Listeners have heard it then."""
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def line_of(event: str, values: dict[str, Any]) -> str:
    """An event as one line of JSON, without the line's end."""
    return json.dumps({"event": event, **_finite(values)}, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def open_events() -> Emitter:
    """Takes standard output for events alone: whatever a library prints from here on goes to standard error.

    Of several processes that share one run (``accelerate launch`` numbers them in RANK) only the first one speaks.
    """
    descriptor = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if not _heard():
        os.close(descriptor)
        return Emitter(open(os.devnull, "w", encoding="utf-8"))
    return Emitter(os.fdopen(descriptor, "w", encoding="utf-8"))


def _heard() -> bool:
    """Whether this is the process whose events are read."""
    return os.environ.get("RANK", "0") == "0"


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its supervisor dies, so that a resumed run never has a twin.

    Only where standard output is a pipe, that is, where somebody reads the events: a run that was started by hand into
    a file outlives its terminal.
    """
    if not sys.platform.startswith("linux") or not stat.S_ISFIFO(os.fstat(1).st_mode):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died while we asked
        os.kill(os.getpid(), signal.SIGKILL)


def run_child(argv: list[str], read: Callable[[str], Spec], work: Callable[[Spec, Emitter], None]) -> int:
    """The frame of every child process: reads the spec, does the work, turns its end into an exit code."""
    die_with_parent()
    emitter = open_events()
    make_room()
    try:
        if len(argv) != 2:
            raise Refused(f"usage: python -m {Path(argv[0]).stem} SPEC.yaml", code="usage")
        try:
            text = Path(argv[1]).read_text(encoding="utf-8")
        except OSError as error:
            raise Refused(f"the spec file cannot be read: {error}", code="spec") from error
        work(read(text), emitter)
    except Exception as error:
        kind, message = explain(error)
        if not isinstance(error, Refused | SpecError):
            traceback.print_exc()
        if not _heard():  # the supervisor looks for it in the log
            print(ERROR_PREFIX + json.dumps({"kind": kind, "message": message}), file=sys.stderr, flush=True)
        if kind == "crash":
            return 1
        with contextlib.suppress(BrokenPipeError):
            emitter.emit("error", kind=kind, message=message)
        return 2
    return 0


def explain(error: BaseException) -> tuple[str, str]:
    """The kind of an error and a sentence about it; kind ``crash`` where we have no better word."""
    if isinstance(error, Refused):
        return error.code, error.message
    if isinstance(error, SpecError):
        return "spec", f"The spec is not valid. {error}"
    text = str(error)
    if out_of_memory(error):
        return "memory", (
            "Not enough memory. Try activation_checkpointing, a shorter max_length or a smaller model; on a GPU a "
            "smaller batch_size as well, with more accumulation, so that a step stays the same."
        )
    if disk_full(error):
        return "disk", "The disk is full. Free some space; what was written before is still there."
    return "crash", f"{type(error).__name__}: {text}"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, the system's, or what torch makes of it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(
        words in text
        for words in ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "alloc_failed")
    )


def disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came of, says that there is no room left to write."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        # safetensors and torch write files of their own and hand on the words alone.
        if any(f"(os error {number})" in str(seen) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
            return True
        if "No space left on device" in str(seen) or "PytorchStreamWriter failed writing" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
