"""Folders of a run as downloads: one file after the other, or a zip that is never whole in memory nor on the disk."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmstudio.storage.artifacts import local_path
from training.exports import services
from training.models import TrainingRun

PIECE = 1 << 20
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Folder:
    """A folder and the files that were recorded of it; nothing else in it is given away."""

    path: Path
    names: tuple[str, ...]

    def file(self, name: str) -> Path | None:
        """The path of one of its files; None where it was not recorded, or has gone."""
        if name not in self.names:
            return None
        path = self.path / name
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and path.is_file() and not path.is_symlink() else None

    @property
    def missing(self) -> list[str]:
        """Recorded files that are not there any more."""
        return [name for name in self.names if self.file(name) is None]


def folder(run: TrainingRun, name: str) -> Folder | None:
    """A folder by its name in an address: merged, adapter, or the kind of an export that was made."""
    if name in services.KINDS:
        export = services.find(run, name)
        return _folder(export.folder_key, export.files) if export and export.is_made else None
    model = services.model_of(run)
    if model is not None and name == "merged":
        return _folder(model.folder_key, model.files)
    if model is not None and name == "adapter" and model.adapter_key:
        return _folder(model.adapter_key, model.adapter_files)
    return None


def _folder(key: str, files: list[dict[str, Any]]) -> Folder:
    return Folder(local_path(key), tuple(file["path"] for file in files))


class _Outlet(io.RawIOBase):
    """Takes what a zip writer writes and gives it on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> Iterator[bytes]:
        """What was written since it was last asked."""
        pieces, self._pieces = self._pieces, []
        yield from pieces


def zipped(one: Folder, name: str) -> Iterator[bytes]:
    """A zip of a folder, its files below ``name``/, piece by piece; the same bytes for the same files.

    Stored, not compressed: weights do not get smaller.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for entry in one.names:
            path = one.file(entry)
            if path is None:
                raise FileNotFoundError(entry)
            info = zipfile.ZipInfo(f"{name}/{entry}", _LONG_AGO)
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as target, path.open("rb") as source:
                while piece := source.read(PIECE):
                    target.write(piece)
                    yield from outlet.taken()
    yield from outlet.taken()
