"""Starts missing servers, knows who uses them, stops servers without users.

Every user of a server holds a shared lock of a file in SLM_HOME, which the kernel releases however the process ends.
``stack.json`` has the process ids of the servers that were started here. A running server that is not listed was
started elsewhere: it is used and never stopped. All of this changes under ``stack.lock``.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slmstudio.stack.embedded_server import Server
from slmstudio.stack.errors import StackError, file_sentence
from slmstudio.stack.paths import Paths
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.valkey import Valkey

_KINDS: dict[str, Callable[[Paths], Server]] = {"postgres": Postgres, "valkey": Valkey}
ALL = tuple(_KINDS)
_LOCK_SECONDS = 240
#: the servers that were started here: name -> process id
Started = dict[str, int]


@dataclass(frozen=True)
class Running:
    """Servers that this process uses until it calls ``stop``. ``owned``: at least one was started for this call."""

    places: Paths
    database_url: str
    redis_url: str
    owned: bool
    servers: tuple[str, ...] = field(repr=False)
    locks: list[int] = field(repr=False)
    pid: int = field(repr=False)


def start(home: Path, servers: Iterable[str] = ALL) -> Running:
    """Makes sure that the servers (``postgres``, ``valkey``) of this SLM_HOME run, and that this process uses them.

    Safe when several processes call it concurrently, when the servers run already, and after a kill -9 of anything.

    Raises:
        StackError: a server cannot be started; the servers that this call started have been stopped again.
    """
    places = Paths.of(home)
    wanted = tuple(servers)
    with _locked(places) as started:
        # First, so that a failure below is undone by the same code as a normal exit.
        locks = [_use(places, name, fcntl.LOCK_SH) for name in wanted]
        try:
            owned = [_ensure(server, started) for server in _servers(places, wanted)]
        except BaseException:
            _release(places, started, locks)
            raise
    return Running(
        places=places,
        database_url=places.database_url(),
        redis_url=places.redis_url,
        owned=any(owned),
        servers=wanted,
        locks=locks,
        pid=os.getpid(),
    )


def restart_ended(running: Running) -> list[str]:
    """Starts those servers of a user that have ended, as by kill -9; returns the titles of the started ones.

    Raises:
        StackError: one cannot be started.
    """
    places = running.places
    gone = [server for server in _servers(places, running.servers) if server.running() is None]
    if not gone or not places.home.exists():
        return []
    with _locked(places) as started:
        return [server.title for server in gone if _ensure(server, started)]


def stop(running: Running) -> None:
    """Ends the use by this process: servers that were started here and have no user any more are stopped.

    Does nothing in a fork of the process that called ``start``, and nothing the second time.
    """
    if running.pid != os.getpid() or not running.places.home.exists():
        return
    with _locked(running.places) as started:
        _release(running.places, started, running.locks)


def _servers(places: Paths, names: Iterable[str]) -> list[Server]:
    return [_KINDS[name](places) for name in names]


def _ensure(server: Server, started: Started) -> bool:
    """Starts the server if it does not run; returns whether it did."""
    process = server.running()
    if process is not None:
        if started.get(server.name) != process.pid:
            started.pop(server.name, None)
        try:
            server.wait_ready()
            return False
        except StackError:
            if server.running() is not None:
                raise
            # It was shutting down when it was checked.
    started.pop(server.name, None)
    try:
        process = server.start()
    except BaseException:
        server.stop()
        raise
    started[server.name] = process.pid
    return True


def _release(places: Paths, started: Started, locks: list[int]) -> None:
    while locks:
        descriptor = locks.pop()
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a fork may have it, too
        os.close(descriptor)
    # The queue stops before the database: no job may start without a database to write to.
    for server in reversed(_servers(places, ALL)):
        if server.name not in started:
            continue
        try:
            os.close(_use(places, server.name, fcntl.LOCK_EX | fcntl.LOCK_NB))
        except BlockingIOError:
            continue  # another process uses it
        process = server.running()
        if process is not None and process.pid == started[server.name]:
            server.stop()
        del started[server.name]


def _use(places: Paths, name: str, how: int) -> int:
    """A descriptor with the lock of a server's users: shared for each of them, exclusive if there is none."""
    descriptor = os.open(places.users(name), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _locked(places: Paths) -> Iterator[Started]:
    """The servers that were started in this SLM_HOME, under the lock; written back at the end, also after an error."""
    try:
        places.home.mkdir(parents=True, exist_ok=True)
        lock = open(places.lock, "a")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise file_sentence(error, places.home, "keep data") from error
    with lock:
        _acquire(lock.fileno(), places)
        started = _read(places.state)
        try:
            yield started
        finally:
            _write(places.state, started)


def _acquire(descriptor: int, places: Paths) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StackError(
                    f"Another process has been starting or stopping the servers in {places.home} for "
                    f"{_LOCK_SECONDS // 60} minutes; end it and start again."
                ) from None
            time.sleep(0.05)


def _read(path: Path) -> Started:
    """What was written last, or nothing if it is missing or broken: running servers then count as external."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    known = value.items() if isinstance(value, dict) else ()
    return {name: pid for name, pid in known if name in _KINDS and isinstance(pid, int)}


def _write(path: Path, started: Started) -> None:
    """Replaces the file atomically. A full disk must not prevent servers from being stopped, so it is no error here."""
    draft = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(started))
        draft.replace(path)
