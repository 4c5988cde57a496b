"""The frame of a child process: clean events, exit codes, ends with its supervisor."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slmstudio.errors import Refused
from slmstudio.runs.exit_messages import rank_error
from tests.training.ml_data import REPO
from training.ml.events import describe_error

CHILD = """
import os, sys
from training.ml.events import Refused, run_child
def work(spec, emitter):
    print("a library prints")
    os.system("echo a program prints")
    emitter.emit("metrics", loss=float("nan"), text="é\\n", nested=[{"x": float("inf")}])
    exec(spec)
sys.exit(run_child(sys.argv, str, work))
"""


def child(tmp_path: Path, body: str) -> tuple[int, list[dict[str, object]], str]:
    spec = tmp_path / "spec"
    spec.write_text(body)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(spec)], cwd=REPO, capture_output=True, text=True, timeout=60
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_only_events_reach_standard_output(tmp_path: Path) -> None:
    code, events, errors = child(tmp_path, "pass")
    assert code == 0
    assert events == [{"event": "metrics", "loss": None, "text": "é\n", "nested": [{"x": None}]}]
    assert "a library prints" in errors
    assert "a program prints" in errors


def test_refusal_is_an_event_and_a_crash_a_traceback(tmp_path: Path) -> None:
    code, events, _ = child(tmp_path, "raise Refused('Too long.', code='length')")
    assert (code, events[-1]) == (2, {"event": "error", "kind": "length", "message": "Too long."})
    code, events, errors = child(tmp_path, "1 / 0")
    assert code == 1
    assert [event["event"] for event in events] == ["metrics"]
    assert "ZeroDivisionError" in errors


def test_closed_pipe_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    code, events, errors = child(tmp_path, "raise MemoryError")
    assert (code, events) == (2, [])
    log = tmp_path / "log"
    log.write_text(errors)
    words = rank_error(log)
    assert words is not None
    assert words["kind"] == "memory"
    assert words["message"].startswith("Not enough memory.")
    code, events, errors = child(tmp_path, "1 / 0")
    assert (code, events) == (1, [])
    assert '"ZeroDivisionError: division by zero"' in errors
    monkeypatch.setenv("RANK", "0")
    assert "slmstudio says" not in child(tmp_path, "raise MemoryError")[2]


def test_unreadable_spec_is_rejected() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "/nowhere"], cwd=REPO, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "spec"


def test_errors_have_different_kinds() -> None:
    for error, kind in (
        (Refused("x", code="model"), "model"),
        (MemoryError(), "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (OSError(12, "Cannot allocate memory"), "memory"),
        (OSError(28, "No space left on device"), "disk"),
        (OSError(122, "Disk quota exceeded"), "disk"),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), "disk"),
        (ValueError("odd"), "crash"),
    ):
        assert describe_error(error)[0] == kind, error


PARENT = """
import subprocess, sys, time
command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_child_dies_with_its_supervisor(tmp_path: Path) -> None:
    spec = tmp_path / "spec"
    spec.write_text("import time; time.sleep(60)")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, str(spec)], cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait(timeout=10)
    for _ in range(100):
        if not _alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child outlived its supervisor")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
