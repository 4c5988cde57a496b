"""Runs a child process for a run: streams its events, beats the heart, kills it on cancel, explains its end.

The child writes JSON lines to its standard output and anything else to standard error, which goes to a log file. It
runs in a process group of its own and dies with its supervisor (it asks the kernel for that itself), so that a run that
is resumed never has a twin.

A database that does not answer for a while costs neither an event nor the child: events wait here, and once too many
wait they stay in the pipe, where the child waits for them to be read. The queue's server is told meanwhile that the run
is alive, since its heart cannot beat.
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

from slmstudio.database.retries import RETRY_SECONDS, UNAVAILABLE, first_line
from slmstudio.runs.child_environment import CHILD_ENVIRONMENT, child_environment
from slmstudio.runs.exit_messages import explain_exit, rank_error, was_killed
from slmstudio.runs.heartbeat import report_alive
from slmstudio.runs.models import BackgroundRun

logger = logging.getLogger(__name__)

Event = dict[str, Any]
T = TypeVar("T")
#: seconds between asking a child to stop and killing it
STOP_GRACE_SECONDS = 20.0
#: the same for a child that writes a checkpoint first: some gigabytes, perhaps to a disk over the network
CHECKPOINT_GRACE_SECONDS = 180.0
#: a worker that is asked to stop sends this to the process of its job
STOP_SIGNAL = signal.SIGUSR1
_MAX_LINE = 16 * 1024 * 1024
#: bytes of events that wait for the database before the child has to
_MAX_WAITING = 64 * 1024 * 1024
#: seconds without a word after which the output of a child that has ended is given up, though somebody else holds it
_ORPHANED_SECONDS = 5.0
_stop_asked = threading.Event()


def request_stop(*_: object) -> None:
    """A signal's handler: whatever this process supervises is asked to stop, and so is what it would start next."""
    _stop_asked.set()


def stop_requested() -> bool:
    """Whether this process was told to stop what it does for a run."""
    return _stop_asked.is_set()


@dataclass
class ChildExit:
    """How a child ended: ``ok``, ``cancelled``, ``interrupted`` (the worker was told to stop), or a sentence in
    ``error``. ``died``: it ended without a word of its own, as what is killed does. ``events`` and ``cpu_seconds`` are
    what supervising cost this process.
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
    """What supervising cost, with the attempts before: processor seconds of the supervisor (reading, heartbeats, rows),
    the events they went into, and the seconds the child ran.
    """
    mine = {"cpu_seconds": ending.cpu_seconds, "events": float(ending.events), "seconds": ending.seconds}
    return {name: round((before or {}).get(name, 0.0) + value, 4) for name, value in mine.items()}


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
    """Runs ``argv`` until it ends, the run is cancelled or the worker is told to stop.

    The child has no secret of this process in its environment; ``also`` as in ``child_environment``.
    ``on_event`` is called for every event the child writes, in order; it may be called again with the same event after
    the database was away. ``keep`` are file descriptors the child holds as well, such as locks. A child that is asked
    to stop has ``grace`` seconds; ``on_stop`` is called at that moment, ``on_idle`` where nothing came for half a
    second. ``launcher``: the child only starts those who work, and they are asked. A child whose run is no longer this
    worker's is killed at once: another one may be at work already. The run's heart beats every
    ``RUN_HEARTBEAT_SECONDS`` whether or not events come. The caller turns the ending into the run's last state.
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
            env={**CHILD_ENVIRONMENT, **child_environment(also), "PYTHONUNBUFFERED": "1", **(env or {})},
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
        said = ending.last.get("error", {}).get("message")
        ending.died = not said and was_killed(code, log, since=since, launcher=launcher)
        ending.error = str(said) if said else explain_exit(code, log, since=since, launcher=launcher)
    return ending


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """While a child runs, or whatever asks ``stop_requested``, SIGTERM asks it to stop first: the signal would end this
    process and lose the last words.
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


class _EventStream:
    """Reads a child's events until it closes its output; delivers them and sends heartbeats in between."""

    def __init__(
        self,
        run: BackgroundRun,
        child: "subprocess.Popen[bytes]",
        on_event: Callable[[Event], None],
        ending: ChildExit,
        grace: float,
        on_stop: Callable[[], None],
        on_idle: Callable[[], None],
        launcher: bool,
    ) -> None:
        assert child.stdout is not None
        self.run, self.child, self.on_event, self.ending = run, child, on_event, ending
        self.grace, self.launcher = grace, launcher
        self.on_stop, self.on_idle = on_stop, on_idle
        self.output = child.stdout
        os.set_blocking(self.output.fileno(), False)
        self.buffer = b""
        self.waiting: deque[bytes] = deque()  # lines as they came: parsed they would take several times as much
        self.bytes_waiting = 0
        self.kill_at: float | None = None
        self.next_beat = 0.0
        self.silent_since = 0.0
        # Of the database: when it may be asked again, how long to wait after that, since when each thing has failed.
        self.ask_at = 0.0
        self.pause = 0.0
        self.tell_at = 0.0
        self.failing_since: dict[str, float] = {}

    def follow(self) -> None:
        """Until the child has ended and everything it said is delivered."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
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
                piece = self.output.read(1 << 16)
                if not piece:
                    break
                self._take(piece)
                self.silent_since = 0.0
        while self.waiting:
            self._on_tick()
            self._deliver()
            if self.waiting:
                time.sleep(0.2)

    def _is_over(self) -> bool:
        """Whether the child has ended and nothing more is to come, though its output is still open: what it started may
        hold that, and is killed with its group.
        """
        if self.child.poll() is None:
            return False
        self.silent_since = self.silent_since or time.monotonic()
        return self.kill_at is not None or time.monotonic() - self.silent_since > _ORPHANED_SECONDS

    def _on_tick(self) -> None:
        """Beats where it is time; asks the child to stop where that was asked for; kills it when its grace is over."""
        now = time.monotonic()
        if _stop_asked.is_set() and self.kill_at is None:
            self.ending.interrupted = True
            self._request_stop(now)
        if now >= self.next_beat and now >= self.ask_at:
            self._database("beat", self._beat)
        if self.kill_at is not None and now >= self.kill_at:
            _kill_group(self.child, signal.SIGKILL)

    def _beat(self) -> None:
        alive = self.run.beat()
        lost = not alive and not self.run.is_owned()
        now = time.monotonic()
        self.next_beat = now + settings.RUN_HEARTBEAT_SECONDS
        if alive:
            return
        if lost:
            # Swept, and perhaps at work elsewhere by now: two would write into one folder.
            self.ending.cancelled, self.kill_at = True, 0.0
        elif not self.ending.cancelled:
            # Also where the worker is told to stop already: a run that somebody cancelled does not come back.
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

    def _take(self, piece: bytes) -> None:
        *lines, self.buffer = (self.buffer + piece).split(b"\n")
        if len(self.buffer) > _MAX_LINE:
            raise ValueError("the child wrote a line of more than 16 MB")
        for line in lines:
            if line.startswith(b"{"):  # anything else is not ours
                self.waiting.append(line)
                self.bytes_waiting += len(line)

    def _deliver(self) -> None:
        """Gives waiting events on, oldest first, until one cannot be delivered."""
        while self.waiting and time.monotonic() >= self.ask_at:
            event = _event(self.waiting[0])
            if event is not None:
                self.ending.last[event["event"]] = event
                if not self._database("event", lambda: self.on_event(event)):  # noqa: B023 (called at once)
                    return
                self.ending.events += 1
            self.bytes_waiting -= len(self.waiting.popleft())

    def _database(self, what: str, do: Callable[[], None]) -> bool:
        """Does what needs the database; False where that is away, which is then left in peace for a moment.

        Raises:
            OperationalError, InterfaceError: it has been away for longer than ``RETRY_SECONDS``.
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
            logger.warning("the database does not answer (%s); %d events wait", first_line(error), len(self.waiting))
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
        return None  # not ours: a library printed to standard output before the child took it over
    return event if isinstance(event, dict) and "event" in event else None


def _terminate_launched(launcher: "subprocess.Popen[bytes]") -> None:
    """SIGTERM for what a launcher started: the launcher itself would kill them before their checkpoints are written."""
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
