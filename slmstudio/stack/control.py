"""Starts missing servers, records the processes that use them, stops servers without users.

``stack.json`` in SLM_HOME lists the servers that were started here and every process that uses them, each by process
id and start time, so that a killed process is not counted. It is changed under ``stack.lock``. A running server that is
not listed was started elsewhere: it is used and never stopped.
"""

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import psutil

from slmstudio.stack import processes
from slmstudio.stack.errors import StackError, file_sentence
from slmstudio.stack.paths import Paths
from slmstudio.stack.postgres import Postgres
from slmstudio.stack.server import Server
from slmstudio.stack.valkey import Valkey

_KINDS: dict[str, Callable[[Paths], Server]] = {"postgres": Postgres, "valkey": Valkey}
ALL = tuple(_KINDS)
_LOCK_SECONDS = 240


class _User(TypedDict):
    who: processes.Identity
    token: str
    servers: list[str]


class _State(TypedDict):
    servers: dict[str, processes.Identity]
    users: list[_User]


@dataclass(frozen=True)
class Running:
    """Servers that this process uses until it calls ``stop``. ``owned``: at least one was started for this call."""

    places: Paths
    database_url: str
    redis_url: str
    owned: bool
    servers: tuple[str, ...] = field(repr=False)
    token: str = field(repr=False)
    pid: int = field(repr=False)


def start(home: Path, servers: Iterable[str] = ALL) -> Running:
    """Makes sure that the servers (``postgres``, ``valkey``) of this SLM_HOME run, and registers this process as user.

    Safe when several processes call it concurrently, when the servers run already, and after a kill -9 of anything.

    Raises:
        StackError: a server cannot be started; the servers that this call started have been stopped again.
    """
    places = Paths.of(home)
    wanted = tuple(servers)
    token = secrets.token_hex(8)
    with _locked(places) as state:
        _remove_dead_users(state)
        # Registered first, so that a failure below is undone by the same code as a normal exit.
        state["users"].append(_User(who=processes.identity(), token=token, servers=[*wanted]))
        try:
            owned = [_ensure(server, state) for server in _servers(places, wanted)]
        except BaseException:
            _release(places, state, token)
            raise
    return Running(
        places=places,
        database_url=places.database_url(),
        redis_url=places.redis_url,
        owned=any(owned),
        servers=wanted,
        token=token,
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
    with _locked(places) as state:
        _remove_dead_users(state)
        return [server.title for server in gone if _ensure(server, state)]


def stop(running: Running) -> None:
    """Unregisters this process: servers that were started here and have no live user any more are stopped.

    Does nothing in a fork of the process that called ``start``, and nothing the second time.
    """
    if running.pid != os.getpid() or not running.places.home.exists():
        return
    with _locked(running.places) as state:
        _release(running.places, state, running.token)


def _servers(places: Paths, names: Iterable[str]) -> list[Server]:
    return [_KINDS[name](places) for name in names]


def _ensure(server: Server, state: _State) -> bool:
    """Starts the server if it does not run; returns whether it did."""
    process = server.running()
    if process is not None:
        recorded = state["servers"].get(server.name)
        if recorded is None or not _same(recorded, process):
            state["servers"].pop(server.name, None)
        try:
            server.wait_ready()
            return False
        except StackError:
            if server.running() is not None:
                raise
            # It was shutting down when it was checked.
    state["servers"].pop(server.name, None)
    try:
        process = server.start()
    except BaseException:
        server.stop()
        raise
    state["servers"][server.name] = processes.identity(process.pid)
    return True


def _release(places: Paths, state: _State, token: str) -> None:
    state["users"] = [user for user in state["users"] if user["token"] != token]
    _remove_dead_users(state)
    used = {name for user in state["users"] for name in user["servers"]}
    # The queue stops before the database: no job may start without a database to write to.
    for server in reversed(_servers(places, ALL)):
        recorded = state["servers"].get(server.name)
        if server.name in used or recorded is None:
            continue
        process = server.running()
        if process is not None and _same(recorded, process):
            server.stop()
        del state["servers"][server.name]


def _same(recorded: processes.Identity, process: psutil.Process) -> bool:
    alive = processes.alive(recorded)
    return alive is not None and alive.pid == process.pid


def _remove_dead_users(state: _State) -> None:
    state["users"] = [user for user in state["users"] if processes.alive(user["who"]) is not None]


@contextlib.contextmanager
def _locked(places: Paths) -> Iterator[_State]:
    """The state of this SLM_HOME, under the lock; written back at the end, also after an error."""
    try:
        places.home.mkdir(parents=True, exist_ok=True)
        lock = open(places.lock, "a")  # noqa: SIM115 - closed by the with below
    except OSError as error:
        raise file_sentence(error, places.home, "keep data") from error
    with lock:
        _acquire(lock.fileno(), places)
        state = _read(places.state)
        try:
            yield state
        finally:
            _write(places.state, state)


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


def _read(path: Path) -> _State:
    """The last written state, or an empty one if it is missing or broken: running servers then count as external."""
    try:
        value = json.loads(path.read_text())
        return _State(
            servers={str(name): _identity(who) for name, who in value["servers"].items()},
            users=[
                _User(
                    who=_identity(user["who"]),
                    token=str(user["token"]),
                    servers=[str(name) for name in user["servers"]],
                )
                for user in value["users"]
            ],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _State(servers={}, users=[])


def _identity(value: dict[str, float]) -> processes.Identity:
    return processes.Identity(pid=int(value["pid"]), created=float(value["created"]))


def _write(path: Path, state: _State) -> None:
    """Replaces the file atomically. A full disk must not prevent servers from being stopped, so it is no error here."""
    draft = path.with_suffix(".new")
    with contextlib.suppress(OSError):
        draft.write_text(json.dumps(state))
        draft.replace(path)
