"""The process that stores the request log, kept by the first process of a gateway."""

import contextlib
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from slmstudio.stack.environment import ROOT, home

logger = logging.getLogger(__name__)
#: seconds until it is started again after it ended by itself, and for its last pass when it is stopped
RESTART_SECONDS = 0.5
STOP_SECONDS = 10.0


def log_folder() -> Path:
    """Where the gateways of this host write their request logs. The first process does not load Django to know it."""
    return home() / "request-log"


@contextlib.contextmanager
def log_store(folder: Path) -> Iterator[None]:
    """Keeps the process during the block. At the end it stores what is complete."""
    stopped = threading.Event()
    keeper = threading.Thread(target=_keep, args=(folder, stopped), name="log-store", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopped.set()
        keeper.join(STOP_SECONDS + 5)


def _keep(folder: Path, stopped: threading.Event) -> None:
    command = [sys.executable, "-m", "serving.gateway.log_store", str(folder)]
    while not stopped.is_set():
        # The kernel tells the child when the thread that started it ends, so the thread stays.
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
        while child.poll() is None and not stopped.wait(0.2):
            pass
        if stopped.is_set():
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:  # the files stay for the next gateway
                child.kill()
                child.wait()
            return
        logger.warning("the process of the request log ended with code %s; it is started again", child.returncode)
        stopped.wait(RESTART_SECONDS)
