"""Processes by name and folder, and their ends."""

import contextlib
import os
import time
from pathlib import Path

import psutil


def ended(process: psutil.Process, seconds: float) -> bool:
    """Waits up to ``seconds`` for the end of a process, a child or not; returns whether it has ended.

    A zombie has ended. ``psutil.wait`` would wait until its parent reaps it, which in a container often never happens.
    """
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
                continue
        return True


def works_in(process: psutil.Process, name: str, folder: Path) -> bool:
    """Whether a live process has this name and its working folder is ``folder``, as a server's is its data folder."""
    with contextlib.suppress(psutil.Error, OSError):
        live = process.status() != psutil.STATUS_ZOMBIE
        return live and process.name().startswith(name) and os.path.samefile(process.cwd(), folder)
    return False


def working_in(name: str, folder: Path) -> list[psutil.Process]:
    """All live processes of this name whose working folder is ``folder``."""
    return [process for process in psutil.process_iter() if works_in(process, name, folder)]


def command(process: psutil.Process) -> list[str]:
    """The command line; empty once the process has ended, which it may do at any moment."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def children() -> list[psutil.Process]:
    """The current children of this process."""
    return psutil.Process().children()


def descendants(pid: int) -> list[psutil.Process]:
    """The current descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []
