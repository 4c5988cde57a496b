"""The folder where workers of a gateway share their metrics, made before Django and prometheus-client load."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

#: where prometheus-client looks for the folder
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "slm-gateway-metrics-"


@contextlib.contextmanager
def shared_folder() -> Iterator[None]:
    """A folder for the metrics of several workers, in memory where possible: a full disk would end a process that
    writes to a mapped file.
    """
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        pid = left.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent)
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)
