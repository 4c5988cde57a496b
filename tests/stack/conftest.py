"""Fixtures of the stack tests: separate homes, and the processes that still run in them."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest


def running_in(home: Path) -> list[str]:
    """Every live process that works below ``home`` or was given it as SLM_HOME, except this one."""
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            below = Path(process.cwd()).is_relative_to(home)
            if below or process.environ().get("SLM_HOME") == str(home):
                left.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
    return left


@pytest.fixture
def home() -> Iterator[Path]:
    """A new SLM_HOME with a short name. The test must leave nothing running in it."""
    folder = Path(tempfile.mkdtemp(prefix="slm-stack-")).resolve()
    yield folder
    left = running_in(folder)
    for line in left:
        with contextlib.suppress(psutil.Error):
            psutil.Process(int(line.split()[0])).kill()
    time.sleep(0.2 if left else 0)
    shutil.rmtree(folder, ignore_errors=True)
    assert not left, "still running: " + "; ".join(left)
