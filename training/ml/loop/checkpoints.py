"""Checkpoints on disk: written atomically, and read only where every hash matches.

``<folder>/checkpoint-00000120/`` holds the files of step 120 and a ``manifest.json`` that names each with its SHA-256.
A checkpoint is written under a temporary name, flushed to disk and renamed, so a kill at any moment leaves the earlier
ones intact. Nothing is unpickled here, and no file is read before ``CheckpointStore.newest`` has verified its hash.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmstudio.storage.hashing import folder_manifest, manifest_hash
from slmstudio.text.formatting import format_bytes
from training.ml.events import is_disk_full

MANIFEST = "manifest.json"
#: bytes that must stay free after a checkpoint, for other programs on the same disk
RESERVED_BYTES = 256 * 1024 * 1024
FOLDER_NAME = re.compile(r"checkpoint-(\d{8,})")
MAX_STORED = 2


@dataclass(frozen=True)
class Checkpoint:
    """One intact checkpoint. ``sha256`` is the hash of its manifest; ``facts`` are the writer's values in it."""

    step: int
    path: Path
    bytes: int
    sha256: str
    facts: dict[str, Any]


class DiskFull(Exception):
    """The disk has no space for a checkpoint; the message is for users. Earlier checkpoints are kept."""


class CheckpointStore:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: int | None = None  # the step last read or written intact: the fallback

    def clear(self) -> None:
        """Removes every checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def newest(self, damaged: Callable[[int], None] = lambda step: None) -> Checkpoint | None:
        """The newest intact checkpoint, or None. ``damaged`` is called with the step of each damaged one."""
        for step in sorted(self._steps(), reverse=True):
            checkpoint = self.read(step)
            if checkpoint is not None:
                self._whole = step
                return checkpoint
            damaged(step)
        return None

    def remove_above(self, step: int) -> None:
        """Removes the checkpoints after ``step``: damaged ones, when a run resumes from there."""
        for later in self._steps():
            if later > step:
                shutil.rmtree(self._path(later), ignore_errors=True)

    def read(self, step: int) -> Checkpoint | None:
        """The checkpoint of a step where it is intact, else None."""
        path = self._path(step)
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            files = [entry for entry in folder_manifest(path) if entry["path"] != MANIFEST]
        except (OSError, ValueError):
            return None
        if not isinstance(manifest, dict) or manifest.get("step") != step or manifest.get("files") != files:
            return None
        if manifest.get("sha256") != _hash(files, manifest.get("facts")):
            return None
        return Checkpoint(step, path, sum(entry["size"] for entry in files), manifest["sha256"], manifest["facts"])

    def write(self, step: int, facts: dict[str, Any], fill: Callable[[Path], None], *, needed: int) -> Checkpoint:
        """Writes a checkpoint: ``fill`` writes its files, about ``needed`` bytes, into the given folder.

        ``facts`` are plain JSON values; their ``best_step`` names a checkpoint to keep with this one. Afterwards the
        newest two and their best ones are kept.

        Raises:
            DiskFull: the disk is full. The partial checkpoint is deleted, older ones are kept.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for rest in self.folder.glob(".*"):  # of a process that was killed while writing
                shutil.rmtree(rest, ignore_errors=True)
            self._check_space(needed)
            checkpoint = self._fill(step, facts, fill)
        except Exception as error:
            shutil.rmtree(self._temporary, ignore_errors=True)
            if is_disk_full(error):
                raise DiskFull(_disk_full_message(step, needed, self.folder)) from error
            raise
        self._whole = step
        self._prune(MAX_STORED)
        return checkpoint

    def prune(self) -> None:
        """Keeps the newest checkpoint and its best one: after the run they allow saving the model again."""
        self._prune(1)

    @property
    def _temporary(self) -> Path:
        return self.folder / ".writing"

    def _fill(self, step: int, facts: dict[str, Any], fill: Callable[[Path], None]) -> Checkpoint:
        self._temporary.mkdir()
        fill(self._temporary)
        files = folder_manifest(self._temporary)
        sha256 = _hash(files, facts)
        manifest = {"version": 1, "step": step, "facts": facts, "files": files, "sha256": sha256}
        (self._temporary / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for path in self._temporary.iterdir():
            _flush(path)
        _flush(self._temporary)
        target = self._path(step)
        if target.exists():  # damaged, or from before an evaluation that has been done since
            target.rename(self.folder / ".replaced")
        self._temporary.rename(target)
        _flush(self.folder)
        shutil.rmtree(self.folder / ".replaced", ignore_errors=True)
        return Checkpoint(step, target, sum(entry["size"] for entry in files), sha256, facts)

    def _check_space(self, needed: int) -> None:
        if self._lacks_space(needed):
            self._prune(1)
        if self._lacks_space(needed):
            raise DiskFull(_disk_full_message(0, needed, self.folder))

    def _lacks_space(self, needed: int) -> bool:
        return shutil.disk_usage(self.folder).free < needed + RESERVED_BYTES

    def _prune(self, count: int) -> None:
        """Removes all but the newest ``count``, the last one known to be intact, and their best ones."""
        newest = {*sorted(self._steps())[-count:]} | ({self._whole} if self._whole is not None else set())
        kept = {*newest, *(best for step in newest if (best := self._best_of(step)) is not None)}
        for step in set(self._steps()) - kept:
            shutil.rmtree(self._path(step), ignore_errors=True)

    def _best_of(self, step: int) -> int | None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            best = json.loads((self._path(step) / MANIFEST).read_text(encoding="utf-8"))["facts"].get("best_step")
            return best if isinstance(best, int) else None
        return None

    def _steps(self) -> Iterator[int]:
        with contextlib.suppress(FileNotFoundError):
            for path in list(self.folder.iterdir()):
                if match := FOLDER_NAME.fullmatch(path.name):
                    yield int(match[1])

    def _path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step:08}"


def _hash(files: Any, facts: Any) -> str:
    """The hash of files and facts."""
    noted = json.dumps(facts, sort_keys=True)
    return manifest_hash([*files, {"path": MANIFEST, "size": 0, "sha256": noted}])


def _flush(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_full_message(step: int, needed: int, folder: Path) -> str:
    try:
        free = f"; {format_bytes(shutil.disk_usage(folder).free)} is free"
    except OSError:
        free = ""
    what = f"The checkpoint of step {step}" if step else "A checkpoint"
    return (
        f"{what} could not be saved for lack of disk space: it needs about {format_bytes(needed)}{free}, and "
        f"{format_bytes(RESERVED_BYTES)} is reserved. Free some space. The previous checkpoint is kept."
    )
