"""Runs a child process for a run: streams its events, beats the heart, kills it on cancel, explains its end.

The child writes JSON lines to its standard output and anything else to standard error, which goes to a log file. It
runs in a process group of its own and dies with its supervisor (it asks the kernel for that itself), so that a run that
is resumed never has a twin.
"""

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from slmstudio.runs import BackgroundRun

Event = dict[str, Any]
GRACE_SECONDS = 20.0
_MAX_LINE = 16 * 1024 * 1024


@dataclass
class Ending:
    """How a child ended: ``ok``, ``cancelled``, or neither with a sentence in ``error``."""

    ok: bool
    cancelled: bool = False
    error: str = ""
    last: dict[str, Event] = field(default_factory=dict)


def explain_exit(code: int, log: Path) -> str:
    """A sentence for an exit code that came without an error event."""
    tail = _tail(log)
    if code == -signal.SIGKILL:
        return "The process was killed, most likely because the machine ran out of memory. Try a smaller batch size."
    if code < 0:
        return f"The process was stopped by signal {signal.Signals(-code).name}. {tail}".strip()
    if "No space left on device" in tail:
        return "The disk is full. Free some space and start the run again."
    return f"The process ended with code {code}. {tail}".strip()


def _tail(log: Path, characters: int = 600) -> str:
    try:
        text = log.read_text(errors="replace").strip()
    except OSError:
        return ""
    last = text.splitlines()[-1] if text else ""
    return f"Its last words: {last[-characters:]}" if last else ""


def supervise(
    run: BackgroundRun,
    argv: list[str],
    *,
    on_event: Callable[[Event], None],
    log: Path,
    env: dict[str, str] | None = None,
) -> Ending:
    """Runs ``argv`` until it ends or the run is cancelled; calls ``on_event`` for every event it writes.

    The run's heart beats every ``RUN_HEARTBEAT_SECONDS`` whether or not events come. Events with ``done`` and ``total``
    move the progress. The caller turns the ending into the run's last state.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
        )
    ending = Ending(ok=False)
    try:
        _stream(run, child, on_event, ending)
        code = child.wait()
    finally:
        _kill_group(child, signal.SIGKILL)
        child.wait()
    if ending.cancelled:
        return ending
    ending.ok = code == 0 and "error" not in ending.last
    if not ending.ok:
        said = ending.last.get("error", {}).get("message")
        ending.error = str(said) if said else explain_exit(code, log)
    return ending


def _stream(
    run: BackgroundRun, child: "subprocess.Popen[bytes]", on_event: Callable[[Event], None], ending: Ending
) -> None:
    """Reads events until the child closes its output, beating in between."""
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    buffer = b""
    next_beat = 0.0
    kill_at: float | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + settings.RUN_HEARTBEAT_SECONDS
                if not run.beat() and not ending.cancelled:
                    ending.cancelled = True
                    kill_at = now + GRACE_SECONDS
                    _kill_group(child, signal.SIGTERM)
            if kill_at is not None and now >= kill_at:
                _kill_group(child, signal.SIGKILL)
            if not selector.select(timeout=0.5):
                if child.poll() is not None and kill_at is not None:
                    return
                continue
            piece = child.stdout.read(1 << 16)
            if not piece:
                return
            buffer += piece
            *lines, buffer = buffer.split(b"\n")
            if len(buffer) > _MAX_LINE:
                raise ValueError("the child wrote a line of more than 16 MB")
            for line in lines:
                _handle(line, on_event, ending)


def _handle(line: bytes, on_event: Callable[[Event], None], ending: Ending) -> None:
    try:
        event = json.loads(line)
    except ValueError:
        return  # not ours: a library printed to standard output before the child took it over
    if isinstance(event, dict) and "event" in event:
        ending.last[event["event"]] = event
        on_event(event)


def _kill_group(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass
