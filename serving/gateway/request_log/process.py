"""The process that stores the request log, kept by the first process of a gateway."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from slmstudio.runs.parent_death import die_with_parent
from slmstudio.storage.installation import home

logger = logging.getLogger(__name__)
#: seconds until it is started again after it ended by itself, and for its last pass when it is stopped
RESTART_SECONDS = 0.5
STOP_SECONDS = 10.0
#: requests go first
NICE = 5


def log_folder() -> Path:
    """Where the gateways of this host write their request logs. The first process does not load Django to know it."""
    return home() / "request-log"


@contextlib.contextmanager
def log_store(folder: Path, *, first: str = "fork") -> Iterator[None]:
    """Keeps the process during the block. At the end it stores what is complete.

    ``first``: how it is started. A fork has the application of this process, and needs one without threads and
    connections; when it has ended, this process may have both, and the next one is spawned.
    """
    stopped = threading.Event()
    keeper = threading.Thread(target=_keep, args=(_started(folder, first), folder, stopped), name="log-store")
    keeper.daemon = True
    keeper.start()
    try:
        yield
    finally:
        stopped.set()
        keeper.join(STOP_SECONDS + 5)


def _started(folder: Path, method: str) -> BaseProcess:
    process: BaseProcess = multiprocessing.get_context(method).Process(target=_run, args=(folder,), name="log-store")  # type: ignore[attr-defined]
    process.start()
    return process


def _keep(child: BaseProcess, folder: Path, stopped: threading.Event) -> None:
    # The kernel tells a child when the thread that started it ends, so the thread stays.
    while True:
        while child.is_alive() and not stopped.wait(0.2):
            pass
        if stopped.is_set():
            child.terminate()
            child.join(STOP_SECONDS)
            if child.is_alive():  # the files stay for the next gateway
                child.kill()
                child.join()
            return
        logger.warning("the process of the request log ended with code %s; it is started again", child.exitcode)
        stopped.wait(RESTART_SECONDS)
        child = _started(folder, "spawn")


def _run(folder: Path) -> None:
    """Stores files until it is asked to stop, and then a last time."""
    stopped = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway stops it once its workers have ended
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    parent = multiprocessing.parent_process()
    assert parent is not None
    die_with_parent(parent.pid, by=signal.SIGTERM)
    os.nice(NICE)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slmstudio.settings")
    import django

    django.setup()
    from serving.gateway.request_log.store import store_until

    store_until(stopped, folder)
