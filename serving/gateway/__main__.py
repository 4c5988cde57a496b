"""``python -m serving.gateway --bind 127.0.0.1:8001``: the gateway on this machine, until it is stopped."""

import argparse
import contextlib
import gc
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import uvicorn
import uvicorn._subprocess

from serving.gateway.request_log.process import log_folder, log_store
from slmstudio.accounts.secret_keys import require_strong_keys
from slmstudio.database.migrated import MigrationsMissing, require_migrated
from slmstudio.env import EnvError
from slmstudio.server.master import raise_open_files_limit
from slmstudio.stack import environment

#: where prometheus-client looks for a folder when it is loaded
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "slm-gateway-metrics-"


def main() -> int:
    """Runs the workers; SIGTERM finishes open requests."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.gateway", description="Answers requests with the deployed models."
    )
    parser.add_argument("--bind", default="127.0.0.1:8001", help="address and port (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--stop-seconds", type=int, default=10, help="to finish requests when stopped")
    options = parser.parse_args()
    try:
        require_strong_keys()
    except EnvError as error:
        print(error, file=sys.stderr)
        return 2
    host, _, port = options.bind.rpartition(":")
    metrics = shared_folder() if options.workers > 1 else contextlib.nullcontext()
    with environment.servers(), metrics:
        raise_open_files_limit()
        _load()
        try:
            require_migrated()
        except MigrationsMissing as error:
            print(error, file=sys.stderr)
            return 1
        from slmstudio.server.headers import plain_headers  # reads the settings, which need the servers

        with log_store(log_folder()):
            uvicorn.run(
                "serving.gateway.app:app",
                host=host.strip("[]"),
                port=int(port),
                workers=options.workers,
                access_log=False,
                log_config=None,  # that of the settings
                log_level="info",
                timeout_graceful_shutdown=options.stop_seconds,
                timeout_keep_alive=75,
                server_header=False,
                headers=[*plain_headers().items()],
                http="serving.gateway.intake.connection:Connection",
                ws="none",
                proxy_headers=False,  # those of TRUSTED_PROXIES count
            )
    return 0


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


def _load() -> None:
    """Loads the application once, before the log store starts; uvicorn then forks workers that have it.

    Loading takes a second or two of a core, for each worker if uvicorn starts it. It opens no connection and starts no
    thread, which a fork would not have.
    """
    importlib.import_module("serving.gateway.app")
    gc.freeze()  # the memory stays shared
    # Threads parse large bodies; with the default 5 ms for each of them, every caller would wait several times as long.
    sys.setswitchinterval(0.0005)
    uvicorn._subprocess.spawn = multiprocessing.get_context("fork")  # type: ignore[assignment]


if __name__ == "__main__":
    sys.exit(main())
