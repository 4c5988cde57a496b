"""Downloads of a run's folders: single files, or a zip that is streamed."""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slmstudio.storage.artifacts import local_path
from training.exports import services
from training.models import TrainingRun

CHUNK_BYTES = 1 << 20
FIXED_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Folder:
    """A folder with its recorded files; no other file can be downloaded."""

    path: Path
    names: tuple[str, ...]

    def file(self, name: str) -> Path | None:
        """The path of one of its files; None where it is not recorded or missing."""
        if name not in self.names:
            return None
        path = self.path / name
        inside = path.resolve().is_relative_to(self.path.resolve())
        return path if inside and path.is_file() and not path.is_symlink() else None

    @property
    def missing(self) -> list[str]:
        """Recorded files that are missing on disk."""
        return [name for name in self.names if self.file(name) is None]


def find_folder(run: TrainingRun, name: str) -> Folder | None:
    """A folder by its name in a URL: merged, adapter, or the key of an available export."""
    export = services.find(run, name)
    if export is not None:
        return _folder(export.folder_key, export.files) if export.is_available else None
    model = services.model_of(run)
    if model is not None and model.weights_deleted_at is not None:
        return None
    if model is not None and name == "merged":
        return _folder(model.folder_key, model.files)
    if model is not None and name == "adapter" and model.adapter_key:
        return _folder(model.adapter_key, model.adapter_files)
    return None


def _folder(key: str, files: list[dict[str, Any]]) -> Folder:
    return Folder(local_path(key), tuple(file["path"] for file in files))


class StreamBuffer(io.RawIOBase):
    """Buffers the bytes of a zip writer."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        return len(data)

    def take(self) -> Iterator[bytes]:
        """The bytes written since the last call."""
        chunks, self._chunks = self._chunks, []
        yield from chunks


def zip_folder(folder: Folder, name: str) -> Iterator[bytes]:
    """A zip of a folder in chunks, with its files below ``name``/; the same bytes for the same files.

    Stored without compression: weights do not compress.
    """
    buffer = StreamBuffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for entry in folder.names:
            path = folder.file(entry)
            if path is None:
                raise FileNotFoundError(entry)
            info = zipfile.ZipInfo(f"{name}/{entry}", FIXED_TIMESTAMP)
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as target, path.open("rb") as source:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
                    yield from buffer.take()
    yield from buffer.take()
