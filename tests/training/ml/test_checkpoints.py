"""Checkpoints on disk are atomic and never cost an earlier one."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.ml.loop import checkpoints
from training.ml.loop.checkpoints import CheckpointStore, DiskFull


def fill(text: str = "weights") -> Any:
    return lambda folder: (folder / "weights").write_text(text) and None


def write(store: CheckpointStore, step: int, best: int | None = None) -> checkpoints.Checkpoint:
    return store.write(step, {"best_step": best, "loss": 0.1 + 0.2}, fill(f"weights {step}"), needed=10)


def steps(store: CheckpointStore) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in store.folder.iterdir())


def test_checkpoint_is_read_back(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "state")
    assert store.newest() is None
    made = write(store, 7)
    assert store.newest() == made == store.read(7)
    assert made.facts["loss"] == 0.1 + 0.2
    assert made.bytes == len("weights 7")
    assert (made.path / "weights").read_text() == "weights 7"


def test_newest_two_and_the_best_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4), (5, 4)):
        write(store, step, best)
    assert steps(store) == [4, 5]
    write(store, 6, 4)
    write(store, 7, 4)
    assert steps(store) == [4, 6, 7]
    store.prune()
    assert steps(store) == [4, 7]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: (path / "weights").write_text("weights 3"),
        lambda path: (path / "weights").write_text("weig"),
        lambda path: (path / "weights").unlink(),
        lambda path: (path / "optimizer.pt").write_text("of foreign origin"),
        lambda path: (path / "manifest.json").write_text(
            (path / "manifest.json").read_text().replace('"best_step": null', '"best_step": 1')
        ),
        lambda path: (path / "manifest.json").write_text("{"),
    ],
    ids=["changed", "cut", "gone", "added", "facts", "manifest"],
)
def test_damaged_checkpoint_is_skipped(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 1)
    harm(write(store, 2).path)
    damaged: list[int] = []
    intact = store.newest(damaged.append)
    assert intact is not None
    assert (intact.step, damaged) == (1, [2])


def test_unfinished_checkpoint_is_ignored(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    write(store, 1)
    with pytest.raises(ValueError, match="killed"):
        store.write(2, {}, lambda folder: _half(folder, ValueError("killed")), needed=10)
    assert steps(store) == [1]
    (tmp_path / ".writing").mkdir()  # of a process that was killed
    assert write(store, 2).step == 2
    assert steps(store) == [1, 2]


def _half(folder: Path, error: Exception) -> None:
    (folder / "weights").write_text("wei")
    raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:1] . PytorchStreamWriter failed writing file data/2"),
    ],
)
def test_full_disk_keeps_earlier_checkpoints(tmp_path: Path, error: Exception) -> None:
    store = CheckpointStore(tmp_path)
    before = write(store, 1)
    with pytest.raises(DiskFull, match=r"step 2 could not be saved.*Free some space"):
        store.write(2, {}, lambda folder: _half(folder, error), needed=3_000_000)
    assert store.newest() == before
    assert steps(store) == [1]


def test_nothing_is_written_below_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        write(store, step)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=checkpoints.RESERVED_BYTES + 9))
    with pytest.raises(DiskFull, match="268 MB is reserved"):
        write(store, 3)
    assert steps(store) == [2]  # the older one has made way first
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=checkpoints.RESERVED_BYTES + 10))
    write(store, 3)
    assert steps(store) == [2, 3]


def test_last_intact_checkpoint_is_never_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (100, 120):
        write(CheckpointStore(tmp_path), step)
    (tmp_path / "checkpoint-00000120" / "weights").write_text("damaged")
    store = CheckpointStore(tmp_path)
    whole = store.newest()
    assert whole is not None
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=checkpoints.RESERVED_BYTES))
    with pytest.raises(DiskFull, match="The previous checkpoint is kept"):
        write(store, 105)
    assert store.newest() == whole
    monkeypatch.undo()
    store.remove_above(whole.step)
    assert steps(store) == [100]
    for step in (105, 110, 115):
        write(store, step)
    assert steps(store) == [110, 115]


def test_repeated_step_replaces_its_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    first = write(store, 1)
    second = store.write(1, {}, fill("other"), needed=10)
    assert second.sha256 != first.sha256
    assert store.newest() == second
    assert json.loads((second.path / "manifest.json").read_text())["sha256"] == second.sha256
