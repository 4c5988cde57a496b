"""Runs a child process for a run: reads its events, sends heartbeats, kills it on cancel, explains its exit.

The child writes JSON lines to its standard output and anything else to standard error, which goes to a log file. It
runs in its own process group and dies with its supervisor (it asks the kernel for that itself), so that a resumed run
never has two children.

A database outage loses neither an event nor the child: events are buffered here, and once the buffer is full they stay
in the pipe, where the child blocks until they are read. During the outage the supervisor reports to the queue's server
that the run is alive, since it cannot store a heartbeat.
"""

import json
import logging
import os
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
from django.conf import settings
from django.db import connection

from slmstudio.database.transactions import RETRY_SECONDS, UNAVAILABLE, first_line
from slmstudio.runs.child_environment import compute_environment
from slmstudio.runs.exit_messages import explain_exit, rank_error, was_killed
from slmstudio.runs.heartbeat import report_alive
from slmstudio.runs.models import BackgroundRun

logger = logging.getLogger(__name__)

Event = dict[str, Any]
T = TypeVar("T")
#: seconds between asking a child to stop and killing it
STOP_GRACE_SECONDS = 20.0
#: the same for a child that writes a checkpoint first: gigabytes, possibly to a network disk
CHECKPOINT_GRACE_SECONDS = 180.0
#: a worker that is asked to stop sends this signal to the process of its job
STOP_SIGNAL = signal.SIGUSR1
_MAX_LINE = 16 * 1024 * 1024
#: bytes of buffered events until the child has to wait for the database
_MAX_WAITING = 64 * 1024 * 1024
#: seconds without output after which the pipe of an ended child is closed, even if another process holds it open
_ORPHANED_SECONDS = 5.0
_stop_requested = threading.Event()


def request_stop(*_: object) -> None:
    """A signal handler: asks whatever this process supervises to stop, and also what it would start next."""
    _stop_requested.set()


def stop_requested() -> bool:
    """Whether this process was asked to stop its work on a run."""
    return _stop_requested.is_set()


@dataclass
class ChildExit:
    """How a child ended: ``ok``, ``cancelled``, ``interrupted`` (the worker was asked to stop), or a message in
    ``error``. ``died``: it ended without an error event, as a killed process does. ``events`` and ``cpu_seconds`` are
    the cost of supervision in this process.
    """

    ok: bool
    cancelled: bool = False
    interrupted: bool = False
    error: str = ""
    died: bool = False
    last: dict[str, Event] = field(default_factory=dict)
    events: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def cost_of(ending: ChildExit, before: dict[str, float] | None = None) -> dict[str, float]:
    """The cost of supervision, including earlier attempts: processor seconds of the supervisor (reading, heartbeats,
    rows), the number of events, and the seconds the child ran.
    """
    owned = {"cpu_seconds": ending.cpu_seconds, "events": float(ending.events), "seconds": ending.seconds}
    return {name: round((before or {}).get(name, 0.0) + value, 4) for name, value in owned.items()}


def supervise(
    run: BackgroundRun,
    argv: list[str],
    *,
    on_event: Callable[[Event], None],
    log: Path,
    env: dict[str, str] | None = None,
    keep: Sequence[int] = (),
    grace: float = STOP_GRACE_SECONDS,
    on_stop: Callable[[], None] = lambda: None,
    on_idle: Callable[[], None] = lambda: None,
    launcher: bool = False,
    also: Sequence[str] = (),
) -> ChildExit:
    """Runs ``argv`` until it ends, the run is cancelled or the worker is asked to stop.

    The child's environment has no secret of this process; ``also`` as in ``child_environment``. ``on_event`` is called
    for every event of the child, in order; it may be called again with the same event after a database outage.
    ``keep`` are file descriptors that the child inherits, such as locks. A child that is asked to stop has ``grace``
    seconds; ``on_stop`` is called at that moment, ``on_idle`` if there was no output for half a second. ``launcher``:
    the child only starts worker processes, and these are asked to stop. A child whose run no longer belongs to this
    worker is killed immediately: another worker may already run it. Heartbeats are sent every ``RUN_HEARTBEAT_SECONDS``
    whether or not events come. The caller turns the result into the run's final state.
    """
    began, spent = time.monotonic(), time.process_time()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        since = errors.seek(0, os.SEEK_END)
        child = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            cwd=settings.BASE_DIR,
            env={**compute_environment(also), "PYTHONUNBUFFERED": "1", **(env or {})},
            start_new_session=True,
            pass_fds=tuple(keep),
        )
    ending = ChildExit(ok=False)
    try:
        with stop_on_signal():
            _EventStream(run, child, on_event, ending, grace, on_stop, on_idle, launcher).follow()
        code = child.wait()
    finally:
        _kill_group(child, signal.SIGKILL)
        child.wait()
        ending.seconds = time.monotonic() - began
        ending.cpu_seconds = time.process_time() - spent
    if ending.cancelled or ending.interrupted:
        return ending
    ending.ok = code == 0 and "error" not in ending.last
    if not ending.ok:
        if launcher and "error" not in ending.last and (words := rank_error(log, since=since)):
            ending.last["error"] = {"event": "error", **words}
        message = ending.last.get("error", {}).get("message")
        ending.died = not message and was_killed(code, log, since=since, launcher=launcher)
        ending.error = str(message) if message else explain_exit(code, log, since=since, launcher=launcher)
    return ending


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """While a child runs, or whatever checks ``stop_requested``, SIGTERM asks it to stop first: by default the signal
    would end this process and lose the last events.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, STOP_SIGNAL)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _EventStream:
    """Reads a child's events until it closes its output; delivers them and sends heartbeats in between."""

    run: BackgroundRun
    child: "subprocess.Popen[bytes]"
    on_event: Callable[[Event], None]
    ending: ChildExit
    grace: float
    on_stop: Callable[[], None]
    on_idle: Callable[[], None]
    launcher: bool
    buffer: bytes = b""
    #: raw lines: parsed they would take several times as much memory
    waiting: deque[bytes] = field(default_factory=deque)
    bytes_waiting: int = 0
    kill_at: float | None = None
    next_heartbeat: float = 0.0
    silent_since: float = 0.0
    # Of the database: when to retry, how long to wait after that, and since when each operation has failed.
    ask_at: float = 0.0
    pause: float = 0.0
    tell_at: float = 0.0
    failing_since: dict[str, float] = field(default_factory=dict)

    def follow(self) -> None:
        """Until the child has ended and all of its events are delivered."""
        output = self.child.stdout
        assert output is not None
        os.set_blocking(output.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while True:
                self._on_tick()
                self._deliver()
                if self.bytes_waiting > _MAX_WAITING:
                    time.sleep(0.2)  # the rest stays in the pipe, and the child waits
                    continue
                if not selector.select(timeout=0.5):
                    if self._is_over():
                        break
                    if not self.waiting and time.monotonic() >= self.ask_at:
                        self._database("idle", self.on_idle)
                    continue
                piece = output.read(1 << 16)
                if not piece:
                    break
                self._read_chunk(piece)
                self.silent_since = 0.0
        while self.waiting:
            self._on_tick()
            self._deliver()
            if self.waiting:
                time.sleep(0.2)

    def _is_over(self) -> bool:
        """Whether the child has ended and no more output comes, although its pipe is still open: a process it started
        may hold it, and is killed with its group.
        """
        if self.child.poll() is None:
            return False
        self.silent_since = self.silent_since or time.monotonic()
        return self.kill_at is not None or time.monotonic() - self.silent_since > _ORPHANED_SECONDS

    def _on_tick(self) -> None:
        """Sends a heartbeat if due; asks the child to stop if requested; kills it when its grace period is over."""
        now = time.monotonic()
        if _stop_requested.is_set() and self.kill_at is None:
            self.ending.interrupted = True
            self._request_stop(now)
        if now >= self.next_heartbeat and now >= self.ask_at:
            self._database("heartbeat", self._send_heartbeat)
        if self.kill_at is not None and now >= self.kill_at:
            _kill_group(self.child, signal.SIGKILL)

    def _send_heartbeat(self) -> None:
        alive = self.run.send_heartbeat()
        lost = not alive and not self.run.is_owned()
        now = time.monotonic()
        self.next_heartbeat = now + settings.RUN_HEARTBEAT_SECONDS
        if alive:
            return
        if lost:
            # Reaped, and maybe running elsewhere by now: two would write into one folder.
            self.ending.cancelled, self.kill_at = True, 0.0
        elif not self.ending.cancelled:
            # Also if the worker is already asked to stop: a cancelled run must not be requeued.
            self.ending.cancelled = True
            if self.kill_at is None:
                self._request_stop(now)

    def _request_stop(self, now: float) -> None:
        self.kill_at = now + self.grace
        if self.launcher:
            _terminate_launched(self.child)
        else:
            _kill_group(self.child, signal.SIGTERM)
        self._database("stop", self.on_stop)

    def _read_chunk(self, piece: bytes) -> None:
        *lines, self.buffer = (self.buffer + piece).split(b"\n")
        if len(self.buffer) > _MAX_LINE:
            raise ValueError("the child wrote a line of more than 16 MB")
        for line in lines:
            if line.startswith(b"{"):  # anything else is not an event
                self.waiting.append(line)
                self.bytes_waiting += len(line)

    def _deliver(self) -> None:
        """Delivers buffered events, oldest first, until one cannot be delivered."""
        while self.waiting and time.monotonic() >= self.ask_at:
            event = _event(self.waiting[0])
            if event is not None:
                self.ending.last[event["event"]] = event
                if not self._database("event", lambda: self.on_event(event)):  # noqa: B023 (called at once)
                    return
                self.ending.events += 1
            self.bytes_waiting -= len(self.waiting.popleft())

    def _database(self, what: str, do: Callable[[], None]) -> bool:
        """Runs an operation on the database; False if it is unavailable, which is then retried after a delay.

        Raises:
            OperationalError, InterfaceError: it was unavailable for longer than ``RETRY_SECONDS``.
        """
        try:
            do()
        except UNAVAILABLE as error:
            now = time.monotonic()
            since = self.failing_since.setdefault(what, now)
            if connection.in_atomic_block or now - since > RETRY_SECONDS:
                raise
            self.pause = min(max(0.2, self.pause * 2), 5.0)
            self.ask_at = now + self.pause
            logger.warning("the database does not respond (%s); %d events wait", first_line(error), len(self.waiting))
            connection.close()  # the next query opens a new one
            if now >= self.tell_at:
                self.tell_at = now + settings.RUN_HEARTBEAT_SECONDS
                report_alive(self.run.job_id)
            return False
        self.failing_since.pop(what, None)
        self.pause = 0.0
        return True


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None  # not an event: a library printed to standard output before the child redirected it
    return event if isinstance(event, dict) and "event" in event else None


def _terminate_launched(launcher: "subprocess.Popen[bytes]") -> None:
    """SIGTERM for the processes of a launcher: the launcher itself would kill them before they save checkpoints."""
    try:
        launched = psutil.Process(launcher.pid).children(recursive=True)
    except psutil.Error:
        launched = []
    if not launched:
        _kill_group(launcher, signal.SIGTERM)
    for process in launched:
        try:
            process.terminate()
        except psutil.Error:
            continue


def _kill_group(child: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        pass
