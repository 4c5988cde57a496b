"""One replica process: started, watched and ended by the supervisor of its host."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings

from serving.packages.external_engines import VARIABLES
from serving.replicas.addresses import accepted_secrets
from serving.replicas.protocol import SECRET_VARIABLE
from slmstudio.runs.child_environment import child_environment
from slmstudio.runs.exit_messages import explain_exit
from slmstudio.runs.path_redaction import redact_paths


class ReplicaProcess:
    """A child of ``serving.ml.replica``. ``identity`` is what it reported once it answered."""

    #: what runs; load and fault tests put a replica without a model here
    module = "serving.ml.replica"

    def __init__(self, folder: Path, *, sha256: str, address: str, slots: int, log: Path, variant: str = "") -> None:
        self.address = address
        self.started = time.monotonic()
        self.identity: dict[str, str] = {}
        self.error = ""
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._since = errors.seek(0, os.SEEK_END)
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", self.module, str(folder)),
                    *("--address", address, "--sha256", sha256, "--slots", str(slots)),
                    *(("--variant", variant) if variant else ()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=settings.BASE_DIR,
                env={
                    **child_environment(VARIABLES),
                    "PYTHONUNBUFFERED": "1",
                    SECRET_VARIABLE: " ".join(accepted_secrets()),
                },
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._child.poll() is None

    @property
    def failure(self) -> str:
        """Why it ended, as a sentence."""
        self._reader.join(2)
        code = self._child.poll()
        found = self.error or explain_exit(1 if code is None else code, self._log, since=self._since)
        return redact_paths(found)

    def drain(self) -> None:
        """Asks it to finish its documents and to end."""
        with contextlib.suppress(ProcessLookupError):
            self._child.send_signal(signal.SIGTERM)

    def end(self, patience: float) -> None:
        """Drains it; kills it after ``patience`` seconds."""
        self.drain()
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            try:
                event: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == "ready":
                self.identity = dict(event["identity"])
            elif event.get("event") == "error":
                self.error = str(event.get("message"))
