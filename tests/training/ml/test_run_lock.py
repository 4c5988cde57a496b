"""Two processes never write into the folder of one run: a fresh one is rejected, a resumed one waits."""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from slmstudio.errors import Refused
from slmstudio.runs.supervisor import CHECKPOINT_GRACE_SECONDS
from tests.training.ml.test_resume import spec_file
from tests.training.ml_process import nursery
from training.ml.loop import run_lock
from training.ml.loop.run_lock import WAIT_SECONDS, folder_lock


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.slow
def test_resumed_run_waits_for_the_earlier_process(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, max_steps=1)
    left: list[float] = []
    with ExitStack() as other:
        other.enter_context(locked_folder(tmp_path / "out"))
        events = list(nursery().run(spec))
        assert [(event["event"], event["kind"]) for event in events] == [("error", "busy")]
        assert not (tmp_path / "out" / "state").exists()
        other.callback(lambda: left.append(time.monotonic()))
        threading.Timer(1.5, other.pop_all().close).start()
        for event in nursery().run(spec, "--resume"):
            if event["event"] == "start":
                assert time.monotonic() > left[0]
    assert (nursery().code, event["event"], event["steps"]) == (0, "done", 1)


def test_lock_timeout_and_stop_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "_POLL_SECONDS", 0.01)
    with locked_folder(tmp_path):
        with pytest.raises(Refused) as caught, folder_lock(tmp_path, wait=0.05):
            pass
        with pytest.raises(Refused) as stopped, folder_lock(tmp_path, wait=9, stopped=lambda: True):
            pass
    assert (caught.value.code, stopped.value.code) == ("busy", "stopped")
    assert WAIT_SECONDS > CHECKPOINT_GRACE_SECONDS
