"""Training processes for tests that kill them, forked from a process with torch loaded: they start immediately."""

import atexit
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.training.ml_data import REPO

Event = dict[str, Any]

_NURSERY = """
import json, os, resource, socket, sys
from functools import partial
from training.ml.events import run_child
from training.ml.train import main
from training.spec import RunSpec
for line in sys.stdin:
    spec, *flags = json.loads(line)
    values = dict(flag[2:].split("=") for flag in flags if "=" in flag)
    count = int(values.pop("processes", 1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pids = []
    for rank in range(count):
        pids.append(os.fork())
        if pids[-1]:
            continue
        if count > 1:  # what the launchers of torch and accelerate set
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
            os.environ |= {name: str(value) for name, value in {**place, "MASTER_PORT": port}.items()}
        for name, more in values.items():
            used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() if name == "AS" else 0
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (used + int(more), resource.RLIM_INFINITY))
        os._exit(run_child(["train", spec], RunSpec.from_yaml, partial(main, resume="--resume" in flags)))
    print(json.dumps({"event": "born", "pids": pids}), flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps({"event": "died", "code": next(filter(None, codes), 0)}), flush=True)
"""


class Nursery:
    """Starts one training process after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # One thread: the tiny model has nothing to share out, and on a busy machine two wait for each other.
            env={"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.pids: list[int] = []
        self.code = 0
        self._running = False

    def run(self, spec: Path, *flags: str) -> Iterator[Event]:
        """The events of one run, as they come. ``pids`` and, at the end, ``code`` are those of its processes.

        ``flags``: those of the process, and its limits in bytes: ``--FSIZE=`` of a file, ``--AS=`` of memory on top of
        what it has. ``--processes=`` of more than one share the run.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._running:  # a test has failed in the middle of a run
            self.send(signal.SIGKILL)
            for line in self._process.stdout:
                if '"event": "died"' in line:
                    break
        self._process.stdin.write(json.dumps([str(spec), *flags]) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if not line.startswith('{"event"') or not line.endswith("}\n"):
                continue  # cut off by a kill
            event = json.loads(line)
            if event["event"] == "born":
                self.pids, self._running = event["pids"], True
            elif event["event"] == "died":
                self.code, self._running = event["code"], False
                return
            else:
                yield event

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the processes of the run."""
        for pid in self.pids:
            os.kill(pid, number)

    def signal_at(self, number: signal.Signals, spec: Path, metrics: int, *flags: str) -> list[Event]:
        """The events of a run that gets a signal once it has taken ``metrics`` steps and reported them."""
        events: list[Event] = []
        before = 0
        for event in self.run(spec, *flags):
            events.append(event)
            before = event.get("resumed_from", before)
            if event["event"] == "metrics" and event["step"] == before + metrics:
                self.send(number)
        return events

    def close(self) -> None:
        """Ends the process they all come from."""
        self._process.kill()
        self._process.communicate()


@cache
def nursery() -> Nursery:
    """The one of this session."""
    made = Nursery()
    atexit.register(made.close)
    return made
