"""One process at a time writes into the folder of a run, on however many hosts that share it."""

import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slmstudio.errors import Refused

#: how long a resumed run waits: a little longer than a supervisor waits for a process that it has asked to stop
WAIT_SECONDS = 200.0
_POLL_SECONDS = 0.2


@contextmanager
def alone_in(folder: Path, *, wait: float, stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Holds the folder of a run, which is made where it is not there. The system lets go of it however the process
    ends. ``wait``: seconds that whoever holds it has left.

    Raises:
        Refused: somebody else holds it still, or ``stopped`` says not to wait any longer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:  # open for writing, as shared file systems want it
        deadline = time.monotonic() + wait
        while not _taken(file.fileno()):
            if stopped():
                raise Refused(
                    "The run was stopped while it waited for another process to leave its folder.", code="stopped"
                )
            if time.monotonic() >= deadline:
                after = f", {wait:.0f} seconds after it was asked for" if wait else ""
                raise Refused(
                    f"Another process trains in the folder of this run{after}. Stop that one first. Nothing of what it "
                    "has kept is lost.",
                    code="busy",
                )
            time.sleep(_POLL_SECONDS)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"the folder of the run cannot be locked ({error}); going on without", file=sys.stderr)
    return True
