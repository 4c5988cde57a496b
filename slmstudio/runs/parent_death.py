"""Ends a process with its parent. Only the standard library, for children without Django.

Run by its path, it ties a program to its parent: ``python parent_death.py PARENT_PID COMMAND ...``. On Linux the kernel
sends SIGTERM when the parent dies, even by kill -9, and the setting survives the exec. On other systems the program is
only run.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int | None = None, *, by: signal.Signals = signal.SIGKILL) -> None:
    """Has the kernel send ``by`` to this process when its parent dies, even by kill -9; on Linux only.

    ``parent``: its process id, where the caller knows it from before the fork.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call above
        os.kill(os.getpid(), by)


def main() -> None:
    """Ties this process to its parent and executes the command."""
    parent, *command = sys.argv[1:]
    die_with_parent(int(parent), by=signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
