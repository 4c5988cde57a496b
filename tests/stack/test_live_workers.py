"""Commands that wait for a run look at it often, and run the reaper now and then."""

import subprocess
import sys
import time

import pytest

from slmstudio.workers import live_workers
from slmstudio.workers.live_workers import StartedWorkers, WorkerGone


def test_waiting_commands_reap_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[float] = []
    clock = [100.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live_workers, "reap_lost_runs", lambda: passes.append(clock[0]))
    workers = StartedWorkers()
    for _ in range(25):
        workers.wait()
    assert passes == [101, 111, 121]


def test_a_worker_that_ended_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_workers, "POLL_SECONDS", 0)
    monkeypatch.setattr(live_workers, "reap_lost_runs", list)
    workers = StartedWorkers()
    workers.processes["gpu"] = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    workers.processes["gpu"].wait()
    with pytest.raises(WorkerGone, match="gpu ended with code 3"):
        workers.wait()
