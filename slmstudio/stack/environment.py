"""Embedded servers for a command: if DATABASE_URL or REDIS_URL is not set, its server is started and it is set."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from slmstudio.stack import lifecycle
from slmstudio.stack.paths import Paths
from slmstudio.storage.files import restrict_permissions
from slmstudio.storage.installation import home

VARIABLES = {"DATABASE_URL": "postgres", "REDIS_URL": "valkey"}
# Commands that read settings but use neither the database nor the queue.
_WITHOUT = frozenset(
    {
        *("help", "version", "check", "diffsettings", "startapp", "startproject"),
        *("collectstatic", "findstatic", "makemessages", "compilemessages", "verify_bundle"),
    }
)


def needs_servers(arguments: Sequence[str]) -> bool:
    """Whether a manage.py command line (without the program) uses the database or the queue."""
    if not arguments or {"-h", "--help", "--version"} & {*arguments}:
        return False
    return arguments[0] not in _WITHOUT or "--database" in arguments


def needs_keys(arguments: Sequence[str]) -> bool:
    """Whether a manage.py command line (without the program) may sign or verify something."""
    return needs_servers(arguments) and arguments[0] != "makemigrations"


def missing() -> list[str]:
    """The servers whose variable is not set."""
    return [server for variable, server in VARIABLES.items() if not os.environ.get(variable, "").strip()]


def set_addresses(places: Paths, servers: Sequence[str]) -> None:
    """Sets SLM_HOME and the variables of these servers for this process and its children."""
    os.environ["SLM_HOME"] = str(places.home)
    if "postgres" in servers:
        os.environ["DATABASE_URL"] = places.database_url()
        os.environ["DATABASE_OWNER_URL"] = places.database_owner_url
    if "valkey" in servers:
        os.environ["REDIS_URL"] = places.redis_url


def is_embedded(server: str) -> bool:
    """Whether the address of ``postgres`` or ``valkey``, as it is set now, is that of the embedded server."""
    places = Paths.of(home())
    if server == "postgres":
        return os.environ.get("DATABASE_URL") == places.database_url()
    return os.environ.get("REDIS_URL") == places.redis_url


@contextlib.contextmanager
def servers(*, start: bool = True) -> Iterator[lifecycle.Running | None]:
    """Sets the addresses of the missing servers; if ``start`` is true, uses them until the end of the block.

    Raises:
        StackError: a server cannot be started.
    """
    wanted = missing()
    if not start or not wanted:
        set_addresses(Paths.of(home()), wanted)
        yield None
        return
    restrict_permissions(home())
    running = lifecycle.start(home(), wanted)
    try:
        set_addresses(running.places, wanted)
        yield running
    finally:
        lifecycle.stop(running)


def exit_on_termination() -> None:
    """Makes SIGTERM and SIGHUP raise an exception in this process, so that the servers it started are stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, leave)
