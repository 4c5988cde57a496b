"""The supervisor of a child process: every event is stored once, and the child is asked to stop before it is killed."""

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import OperationalError

from slmstudio.database.transactions import with_retries
from slmstudio.runs import supervisor
from slmstudio.runs.exit_messages import explain_exit
from slmstudio.runs.supervisor import supervise


class Run:
    """As much of a run as is needed: its heart, until it is cancelled."""

    def __init__(self, beats: float = 1e9) -> None:
        self.beats, self.beaten = beats, 0
        self.job_id = uuid.uuid4()

    def send_heartbeat(self, **changes: Any) -> bool:
        self.beaten += 1
        return self.beaten <= self.beats

    def is_owned(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def reported_alive(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """The jobs that were reported as alive; nothing is sent to the queue."""
    jobs: list[uuid.UUID] = []
    monkeypatch.setattr(supervisor, "report_alive", jobs.append)
    return jobs


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """No database is asked; the heart beats often."""
    monkeypatch.setattr(
        supervisor, "connection", type("C", (), {"in_atomic_block": False, "close": lambda self: None})()
    )
    settings.RUN_HEARTBEAT_SECONDS = 0.1


def child(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "child.py"
    path.write_text(text)
    return [sys.executable, str(path)]


def supervised(tmp_path: Path, run: Any, text: str, on_event: Any = lambda event: None, **options: Any) -> Any:
    """How the run of a child with this program ends."""
    return supervise(run, child(tmp_path, text), on_event=on_event, log=tmp_path / "log", **options)


DEAF = (
    "import json, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print(json.dumps({'event': 'deaf'}), flush=True)\n"
    "time.sleep(60)"
)


def cancel(run: Run) -> Any:
    """Ends the run's heart at the first event."""

    def take(event: dict[str, Any]) -> None:
        run.beats = 0

    return take


def test_events_are_buffered_without_a_database(tmp_path: Path) -> None:
    count = "import json\nfor n in range(200): print(json.dumps({'event': 'n', 'n': n}), flush=True)"
    got: list[int] = []
    away = [5]

    def take(event: dict[str, Any]) -> None:
        if len(got) == 50 and away[0]:
            away[0] -= 1
            raise OperationalError("the server closed the connection unexpectedly")
        got.append(event["n"])

    ending = supervised(tmp_path, Run(), count, take)
    assert ending.ok
    assert got == list(range(200))
    assert (away[0], ending.events) == (0, 200)


def test_liveness_is_published_without_a_database(tmp_path: Path, reported_alive: list[uuid.UUID]) -> None:
    sent: list[float] = []

    class Away(Run):
        def send_heartbeat(self, **changes: Any) -> bool:
            sent.append(time.monotonic())
            if len(sent) <= 3:
                raise OperationalError("away")
            return True

    run = Away()
    assert supervised(tmp_path, run, "import time; time.sleep(1.5)").ok
    assert set(reported_alive) == {run.job_id}
    assert len(reported_alive) <= 10
    well = Run()
    assert supervised(tmp_path, well, "").ok
    assert well.job_id not in reported_alive


def test_a_full_buffer_blocks_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_MAX_WAITING", 10_000)
    talk = "import json\nfor n in range(300): print(json.dumps({'event': 'n', 'n': n, 'x': 'x' * 2000}), flush=True)"
    got: list[int] = []
    until = time.monotonic() + 1.5
    most = [0]

    def take(event: dict[str, Any]) -> None:
        if time.monotonic() < until:
            raise OperationalError("away")
        got.append(event["n"])

    def watch(self: Any) -> None:
        most[0] = max(most[0], self.bytes_waiting)
        deliver(self)

    deliver = supervisor._EventStream._deliver
    monkeypatch.setattr(supervisor._EventStream, "_deliver", watch)
    assert supervised(tmp_path, Run(), talk, take).ok
    assert got == list(range(300))
    assert most[0] < 10_000 + (1 << 16) * 2


def test_a_lost_database_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RETRY_SECONDS", 0.5)

    def take(event: dict[str, Any]) -> None:
        raise OperationalError("away")

    talk = 'import time\nprint(\'{"event": "n"}\', flush=True)\ntime.sleep(30)'
    began = time.monotonic()
    with pytest.raises(OperationalError):
        supervised(tmp_path, Run(), talk, take)
    assert time.monotonic() - began < 15


def test_stop_signals_go_to_the_launched_processes(tmp_path: Path) -> None:
    """As accelerate's does, the launcher kills its processes at once when it is asked to end."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.5); pathlib.Path(sys.argv[1]).write_text('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "pathlib.Path(sys.argv[1] + '.up').touch()\n"
        "time.sleep(60)\n"
    )
    launcher = f"""
import pathlib, signal, subprocess, sys, time
names = [{str(tmp_path / "a")!r}, {str(tmp_path / "b")!r}]
started = [subprocess.Popen([sys.executable, {str(worker)!r}, name]) for name in names]
def stop(*_):
    for process in started: process.kill()
    sys.exit(1)
signal.signal(signal.SIGTERM, stop)
for process in started: process.wait()
"""

    class Cancelled(Run):
        def send_heartbeat(self, **changes: Any) -> bool:
            return not all((tmp_path / f"{name}.up").exists() for name in "ab")

    stopped: list[int] = []
    ending = supervised(tmp_path, Cancelled(), launcher, launcher=True, on_stop=lambda: stopped.append(1))
    assert ending.cancelled
    assert [(tmp_path / name).read_text() for name in "ab"] == ["saved", "saved"]
    assert stopped == [1]


def test_a_child_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    run = Run()
    began = time.monotonic()
    ending = supervised(tmp_path, run, DEAF, cancel(run), grace=0.5)
    assert ending.cancelled
    assert 0.5 <= time.monotonic() - began < 15


def test_a_child_of_a_lost_claim_is_killed_immediately(tmp_path: Path) -> None:
    class Taken(Run):
        def is_owned(self) -> bool:
            return False

    run = Taken()
    asked: list[int] = []
    began = time.monotonic()
    ending = supervised(tmp_path, run, DEAF, cancel(run), grace=60, on_stop=lambda: asked.append(1))
    assert ending.cancelled
    assert asked == []
    assert time.monotonic() - began < 15


def test_an_inherited_pipe_does_not_block_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_ORPHANED_SECONDS", 0.3)
    parent = (
        "import json, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(json.dumps({'event': 'n'}), flush=True)"
    )
    got: list[str] = []
    before = set(psutil.Process().children(recursive=True))  # a browser of other tests may be among them
    began = time.monotonic()
    assert supervised(tmp_path, Run(), parent, lambda event: got.append(event["event"])).ok
    assert got == ["n"]
    assert time.monotonic() - began < 15
    for process in set(psutil.Process().children(recursive=True)) - before:
        process.kill()


def test_a_killed_launched_process_counts_as_killed(tmp_path: Path) -> None:
    """What torch's launcher writes when the machine ran out of memory under one of its processes."""
    log = tmp_path / "log"
    log.write_text("Root Cause (first observed failure):\n  exitcode  : -11 (pid: 3)\n")  # of the attempt before
    talk = "import sys\nsys.stderr.write('  exitcode  : -9 (pid: 7)\\n  traceback : Signal 9\\n')\nsys.exit(1)"
    ending = supervised(tmp_path, Run(), talk, launcher=True)
    assert ending.died
    assert "ran out of memory" in ending.error
    ending = supervised(tmp_path, Run(), talk)
    assert not ending.died
    assert "exited with code 1" in ending.error


REPORT = """\
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
training.ml.train FAILED
------------------------------------------------------------
Failures:
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 6) Signal 15
------------------------------------------------------------
Root Cause (first observed failure):
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : CODE (pid: 7)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


@pytest.mark.parametrize(
    ("words", "code", "died", "end"),
    [
        (
            ("torch.OutOfMemoryError: CUDA out of memory.\n"
            '[default1]:slmstudio says: {"kind": "memory", "message": "Not enough memory. Try a smaller batch."}\n'),
            2, False, "Not enough memory. Try a smaller batch.",
        ),
        ('slmstudio says: {"kind": "crash", "message": "RuntimeError: NCCL"}\n', 1, False, "RuntimeError: NCCL"),
        ("Traceback (most recent call last):\n[rank1]: RuntimeError: NCCL\n", 1, False, "RuntimeError: NCCL"),
        # what killed it is more than what it wrote before
        ('slmstudio says: {"kind": "crash", "message": "Connection closed by peer"}\n', -9, True, ""),
    ],
)  # fmt: skip
def test_errors_of_other_ranks_are_read_from_the_log(
    tmp_path: Path, words: str, code: int, died: bool, end: str
) -> None:
    """The second process of a launcher wrote ``words`` and ended with ``code``."""
    message = tmp_path / "message"
    message.write_text(words + REPORT.replace("CODE", str(code)))
    talk = f"import pathlib, sys\nsys.stderr.write(pathlib.Path({str(message)!r}).read_text())\nsys.exit(1)"
    ending = supervised(tmp_path, Run(), talk, launcher=True)
    assert ending.died is died
    assert ending.error.endswith(end)
    assert ("ran out of memory" in ending.error) is died
    if code == 2:
        assert ending.last["error"]["kind"] == "memory"


def test_errors_at_the_end_of_a_long_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(8 << 30)  # sparse: it takes no room, and reading all of it would not fit
        file.seek(0, 2)
        file.write(b"\nValueError: no\n")
    assert explain_exit(1, log) == "The process exited with code 1. Last output: ValueError: no"
    assert explain_exit(1, log, since=log.stat().st_size) == "The process exited with code 1."


def test_retries_succeed_when_the_database_returns() -> None:
    tries = [0]

    def do() -> int:
        tries[0] += 1
        if tries[0] < 3:
            raise OperationalError("starting up")
        return tries[0]

    assert with_retries(do) == 3
    with pytest.raises(OperationalError):
        with_retries(lambda: (_ for _ in ()).throw(OperationalError("away")), seconds=0.1)
