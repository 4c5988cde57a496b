"""Child processes that their caller waits for: preparing a model, measuring lengths."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from slmstudio.database.transactions import with_retries
from slmstudio.runs.child_environment import compute_environment
from slmstudio.runs.exit_messages import explain_exit
from slmstudio.runs.models import BackgroundRun
from slmstudio.runs.supervisor import ChildExit, supervise

Event = dict[str, Any]


class ChildFailed(Exception):
    """A child process failed; the message is for users."""


class ChildCancelled(Exception):
    """The run of a child process was cancelled or requeued."""


def run_child(
    module: str,
    spec: Path,
    log: Path,
    *,
    run: BackgroundRun | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
    also: Sequence[str] = (),
) -> dict[str, Event]:
    """Runs ``python -m module spec`` and returns the last event of each name.

    With a ``run``, it sends heartbeats, and cancelling it stops the child. ``also`` as in ``child_environment``.

    Raises:
        ChildFailed: with the child's error, or an explanation of its exit status.
        ChildCancelled: the run was cancelled.
    """
    argv = [sys.executable, "-m", module, str(spec)]
    if run is None:
        return run_in_foreground(argv, log, on_event=on_event, also=also)
    ending: ChildExit = supervise(run, argv, on_event=on_event, log=log, also=also)
    if ending.interrupted:
        with_retries(run.return_to_queue)  # the worker is being stopped; the next one starts it again
    if ending.cancelled or ending.interrupted:
        raise ChildCancelled
    if not ending.ok:
        raise ChildFailed(ending.error)
    return ending.last


def run_in_foreground(
    argv: list[str],
    log: Path,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    also: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
) -> dict[str, Event]:
    """Runs a child process of a command, and returns the last event of each name. ``env`` and ``keep`` as in
    ``supervise``.

    Raises:
        ChildFailed: as in ``run_child``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last: dict[str, Event] = {}
    with log.open("ab") as errors:
        child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env={**compute_environment(also), **(env or {})},
            pass_fds=tuple(keep),
        )
        assert child.stdout is not None
        try:
            for line in child.stdout:
                event = _event(line)
                if event is not None:
                    last[event["event"]] = event
                    on_event(event)
            code = child.wait()
        finally:
            child.kill()
            child.wait()
    if code != 0 or "error" in last:
        message = last.get("error", {}).get("message")
        raise ChildFailed(str(message) if message else explain_exit(code, log))
    return last


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def spec_file(text: str) -> Path:
    """A spec in a temporary file; the caller removes it."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="spec-", delete=False) as file:
        file.write(text)
    return Path(file.name)
