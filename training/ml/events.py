"""Events of a child process: JSON lines on standard output, an error message, and an exit code.

Exit codes: 0 done, 2 failed with an ``error`` event for users, else a crash with a traceback on standard error.
"""

import contextlib
import errno
import json
import math
import os
import stat
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from slmstudio.errors import Refused
from slmstudio.logs.json_lines import log_as_parent
from slmstudio.runs.exit_messages import ERROR_PREFIX
from slmstudio.runs.parent_death import die_with_parent
from training.ml.hardware.contention import start_yielding
from training.strict_yaml import SpecError

Spec = TypeVar("Spec")


class Emitter:
    """Writes one JSON object a line; safe to call from several threads."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._listeners: list[Callable[[str, dict[str, Any]], None]] = []

    def subscribe(self, listener: Callable[[str, dict[str, Any]], None]) -> None:
        """Calls ``listener`` with the name and the values of every event from now on."""
        self._listeners.append(listener)

    def emit(self, event: str, **values: Any) -> None:
        """Writes the event. NaN and infinities become null: JSON has none."""
        self.emit_recorded(event_line(event, values))
        for listener in self._listeners:
            listener(event, values)

    def emit_recorded(self, line: str) -> None:
        """Writes a recorded line of ``event_line`` again, without calling the listeners."""
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


def event_line(event: str, values: dict[str, Any]) -> str:
    """An event as one line of JSON, without the line's end."""
    return json.dumps({"event": event, **_finite(values)}, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def open_events() -> Emitter:
    """Reserves standard output for events; output of libraries goes to standard error from now on.

    Of several processes of one run (``accelerate launch`` sets RANK) only the first writes events.
    """
    descriptor = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    if not is_main_process():
        os.close(descriptor)
        return Emitter(open(os.devnull, "w", encoding="utf-8"))
    return Emitter(os.fdopen(descriptor, "w", encoding="utf-8"))


def is_main_process() -> bool:
    """Whether this process writes events and files; of several processes of one run only the first does."""
    return os.environ.get("RANK", "0") == "0"


def run_child(argv: list[str], read: Callable[[str], Spec], work: Callable[[Spec, Emitter], None]) -> int:
    """Runs a child process: reads the spec, does the work, and returns the exit code."""
    log_as_parent()
    if stat.S_ISFIFO(os.fstat(1).st_mode):  # a supervisor reads the events: a resumed run must have no second process
        die_with_parent()
    emitter = open_events()
    start_yielding()
    try:
        if len(argv) != 2:
            raise Refused(f"usage: python -m {Path(argv[0]).stem} SPEC.yaml", code="usage")
        try:
            text = Path(argv[1]).read_text(encoding="utf-8")
        except OSError as error:
            raise Refused(f"the spec file cannot be read: {error}", code="spec") from error
        work(read(text), emitter)
    except Exception as error:
        kind, message = describe_error(error)
        if not isinstance(error, Refused | SpecError):
            traceback.print_exc()
        if not is_main_process():  # the supervisor finds it in the log
            print(ERROR_PREFIX + json.dumps({"kind": kind, "message": message}), file=sys.stderr, flush=True)
        if kind == "crash":
            return 1
        with contextlib.suppress(BrokenPipeError):
            emitter.emit("error", kind=kind, message=message)
        return 2
    return 0


def describe_error(error: BaseException) -> tuple[str, str]:
    """The kind and message of an error; kind ``crash`` for an unexpected one."""
    if isinstance(error, Refused):
        return error.code, error.message
    if isinstance(error, SpecError):
        return "spec", f"The spec is not valid. {error}"
    text = str(error)
    if is_out_of_memory(error):
        return "memory", (
            "Not enough memory. Try activation_checkpointing, a shorter max_length or a smaller model; on a GPU also a "
            "smaller batch_size with more accumulation, which keeps the effective batch size."
        )
    if is_disk_full(error):
        return "disk", "The disk is full. Free some space; earlier files are kept."
    return "crash", f"{type(error).__name__}: {text}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, in Python, the system or torch."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    text = str(error).lower()
    return any(
        words in text
        for words in ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc", "alloc_failed")
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error or its cause means that the disk is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        # safetensors and torch raise their own errors, with the system's message only.
        if any(f"(os error {number})" in str(seen) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
            return True
        if "No space left on device" in str(seen) or "PytorchStreamWriter failed writing" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
