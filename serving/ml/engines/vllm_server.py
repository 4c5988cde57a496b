"""vLLM as a child process on a UNIX socket in a private folder. It ends with this process."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path

from serving.ml.engines.http import ModelServer, ServerError
from serving.packages.external_engines import VLLM_API_KEY, vllm_options, vllm_serve
from serving.packages.spec import ServeSpec
from slmstudio.errors import Refused
from slmstudio.runs.parent_death import die_with_parent

#: seconds that it may take to load a model
START_SECONDS = 900.0
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.25
#: no statistics are sent, and nothing is downloaded
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_DO_NOT_TRACK": "1"}


class VllmServer:
    """The process. ``folder``: of the model."""

    def __init__(self, command: str, folder: Path, spec: ServeSpec) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="slm-vllm-")
        self._socket = Path(self._folder.name) / "vllm.sock"
        self._key = secrets.token_urlsafe(16)
        options = vllm_options(name=spec.name, context=spec.context, seed=spec.seed)
        self._argv = vllm_serve(command, str(folder), [*options, "--uds", str(self._socket)])
        self._child: subprocess.Popen[bytes] | None = None
        self._last: deque[str] = deque(maxlen=40)

    async def start(self) -> ModelServer:
        """Starts it; returns once it answers. Raises Refused."""
        parent = os.getpid()
        # The key is in the environment, where other accounts do not see it.
        environment = {**os.environ, **_ENVIRONMENT, VLLM_API_KEY: self._key}
        try:
            # From the main thread: the kernel ends the child with the thread that started it.
            self._child = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment, preexec_fn=lambda: die_with_parent(parent, by=signal.SIGTERM),
            )  # fmt: skip
        except OSError as error:
            raise Refused(f"VLLM_COMMAND cannot be started: {error}", code="engine") from error
        threading.Thread(target=self._copy_log, daemon=True).start()
        server = ModelServer("http://vllm", key=self._key, socket=self._socket)
        give_up = time.monotonic() + START_SECONDS
        try:
            while not await self._answers(server):
                if self._child.poll() is not None:
                    raise Refused(f"vLLM ended with exit code {self._child.returncode}: {self._reason}", code="engine")
                if time.monotonic() > give_up:
                    raise Refused(f"vLLM did not respond within {START_SECONDS:g} s.", code="engine")
                await asyncio.sleep(_POLL_SECONDS)
        except BaseException:
            await server.close()
            await self.stop()
            raise
        return server

    async def _answers(self, server: ModelServer) -> bool:
        try:
            await server.get("/health")
        except ServerError:
            return False
        return True

    def _copy_log(self) -> None:
        """Its log goes to the log of this process; standard output is for events."""
        assert self._child is not None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last.append(text)
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    @property
    def _reason(self) -> str:
        errors = [line for line in self._last if "Error" in line]
        return (errors or [*self._last, "no message"])[-1][-300:]

    async def stop(self) -> None:
        """Ends it with its own children."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                await asyncio.to_thread(child.wait, STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                await asyncio.to_thread(child.wait)
        with contextlib.suppress(OSError):
            self._folder.cleanup()
