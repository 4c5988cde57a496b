"""A lock on the folder of a run: one process at a time writes to it, also over shared file systems."""

import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slmstudio.errors import Refused

#: how long a resumed run waits: slightly longer than a supervisor waits for a stopping process
WAIT_SECONDS = 200.0
_POLL_SECONDS = 0.2


@contextmanager
def folder_lock(folder: Path, *, wait: float, stopped: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Locks the folder of a run and creates it where missing. The system releases the lock when the process ends.

    ``wait``: seconds to wait for another process.

    Raises:
        Refused: another process still has the lock, or ``stopped`` returns True.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:  # open for writing, as shared file systems require
        deadline = time.monotonic() + wait
        while not _try_lock(file.fileno()):
            if stopped():
                raise Refused(
                    "The run was stopped while it waited for another process to release its folder.", code="stopped"
                )
            if time.monotonic() >= deadline:
                after = f" after {wait:.0f} seconds of waiting" if wait else ""
                raise Refused(
                    f"Another process is using this run's folder{after}. Stop it first. All checkpoints are kept.",
                    code="busy",
                )
            time.sleep(_POLL_SECONDS)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        print(f"the folder of the run cannot be locked ({error}); continuing without a lock", file=sys.stderr)
    return True
