"""Runs a program that ends when its parent does: ``python exit_with_parent.py PARENT_PID COMMAND ...``.

Run by its path, so that nothing is imported. On Linux the kernel sends SIGTERM when the parent dies, even by kill -9,
and the setting survives the exec below. On other systems the program is only run.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ties this process to its parent and executes the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # the parent died before the call above
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
