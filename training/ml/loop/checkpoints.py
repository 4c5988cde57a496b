"""Checkpoints on disk: written whole or not at all, and read only where every byte is the one that was written.

``<folder>/checkpoint-00000120/`` holds the files of step 120 and a ``manifest.json`` that names each with its SHA-256.
A checkpoint is filled under another name, flushed to the disk and renamed, so that a kill at any moment leaves the ones
before it. Nothing is unpickled here, and no reader is let at a file before ``Store.newest`` has counted its hash.
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
from training.ml.events import disk_full

MANIFEST = "manifest.json"
#: bytes that must stay free beside a checkpoint: other programs live on the same disk
RESERVE = 256 * 1024 * 1024
_NAME = re.compile(r"checkpoint-(\d{8,})")
_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint. ``sha256`` is the hash of its manifest; ``facts`` are what its writer noted in it."""

    step: int
    path: Path
    bytes: int
    sha256: str
    facts: dict[str, Any]


class NoRoom(Exception):
    """There was no disk space for a checkpoint, said in a sentence. The ones before it are still there."""


class Store:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: int | None = None  # the step last read or written whole: the one to fall back on

    def clear(self) -> None:
        """Removes every checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def newest(self, damaged: Callable[[int], None] = lambda step: None) -> Checkpoint | None:
        """The newest whole checkpoint, None without one. ``damaged`` is told the step of each that is not whole."""
        for step in sorted(self._steps(), reverse=True):
            found = self.read(step)
            if found is not None:
                self._whole = step
                return found
            damaged(step)
        return None

    def remove_above(self, step: int) -> None:
        """Removes the checkpoints after ``step``: damaged ones, where the run goes on from there."""
        for one in self._steps():
            if one > step:
                shutil.rmtree(self._path(one), ignore_errors=True)

    def read(self, step: int) -> Checkpoint | None:
        """The checkpoint of a step, where it is there and whole."""
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
        """Writes a checkpoint: ``fill`` puts its files into the folder it is given, about ``needed`` bytes.

        ``facts`` are plain JSON values; ``best_step`` among them names a checkpoint that is to be kept with this one.
        Afterwards the newest two are kept, and those they name as best.

        Raises:
            NoRoom: the disk is full. What was written is gone again, older checkpoints are not.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for rest in self.folder.glob(".*"):  # of a process that was killed while it wrote
                shutil.rmtree(rest, ignore_errors=True)
            self._check_room(needed)
            made = self._fill(step, facts, fill)
        except Exception as error:
            shutil.rmtree(self._temporary, ignore_errors=True)
            if disk_full(error):
                raise NoRoom(_sentence(step, needed, self.folder)) from error
            raise
        self._whole = step
        self._prune(_KEPT)
        return made

    def prune(self) -> None:
        """Keeps the newest checkpoint, and the best it names: the run is over, and they let it be saved again."""
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
        if target.exists():  # damaged, or of before a look at the validation split that has been taken since
            target.rename(self.folder / ".replaced")
        self._temporary.rename(target)
        _flush(self.folder)
        shutil.rmtree(self.folder / ".replaced", ignore_errors=True)
        return Checkpoint(step, target, sum(entry["size"] for entry in files), sha256, facts)

    def _check_room(self, needed: int) -> None:
        if self._short(needed):
            self._prune(1)
        if self._short(needed):
            raise NoRoom(_sentence(0, needed, self.folder))

    def _short(self, needed: int) -> bool:
        return shutil.disk_usage(self.folder).free < needed + RESERVE

    def _prune(self, count: int) -> None:
        """Removes all but the newest ``count``, the one last known to be whole, and those that these name as best."""
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
                if match := _NAME.fullmatch(path.name):
                    yield int(match[1])

    def _path(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step:08}"


def _hash(files: Any, facts: Any) -> str:
    """Of the files and of the facts beside them."""
    noted = json.dumps(facts, sort_keys=True)
    return manifest_hash([*files, {"path": MANIFEST, "size": 0, "sha256": noted}])


def _flush(path: Path) -> None:
    """Has the system write a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sentence(step: int, needed: int, folder: Path) -> str:
    try:
        free = f"; {_megabytes(shutil.disk_usage(folder).free)} are free"
    except OSError:
        free = ""
    what = f"The checkpoint of step {step}" if step else "A checkpoint"
    return (
        f"{what} could not be written for want of disk space: it takes about {_megabytes(needed)}{free}, and "
        f"{_megabytes(RESERVE)} are left to other programs. Free some space. The checkpoint before it is kept."
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count:,} bytes"
