"""The artifact store: model folders, dataset files, outputs and logs, behind Django's storage API; the room on disks.

Keys are relative paths such as ``datasets/7/dataset.jsonl``; a key is a file below ``var/artifacts``. Work that needs a
real path (a child process reads and writes files) asks for ``local_path``.
"""

import errno
import os
import shutil
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final, cast

from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, storages


class ArtifactStorage(FileSystemStorage):
    """Files that are there as a whole or not at all, also after a power failure or on a full disk."""

    def _save(self, name: str, content: "File[Any]") -> str:
        """Writes next to the place, waits for the disk, and moves the file there."""
        target = Path(self.path(name))
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            super()._save(os.path.relpath(part, self.location), content)  # type: ignore[misc]  # its stubs have no _save
            _sync(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        _sync(target.parent)
        return name

    def replace(self, name: str, content: "File[Any]") -> None:
        """Stores a file under exactly this name, in the place of an earlier one."""
        self._save(name, content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store() -> ArtifactStorage:
    """The storage of artifacts."""
    return cast(ArtifactStorage, storages["artifacts"])


def write_text(key: str, text: str) -> None:
    """Stores a text under exactly this key, in the place of an earlier one."""
    store().replace(key, ContentFile(text.encode()))


def local_path(key: str) -> Path:
    """The path of a key on this machine; its parent folder is created."""
    path = Path(store().path(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


#: stays free for everything else
_RESERVE: Final = 64 * 2**20


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that a disk or quota is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def has_room(size: int, *, temporary: int) -> bool:
    """Whether an upload of ``size`` bytes can be stored, with ``temporary`` more copies of it until it is."""
    places = [Path(store().path(""))] + [Path(tempfile.gettempdir())] * temporary
    needed: Counter[int] = Counter()
    folders: dict[int, Path] = {}
    for place in places:
        folder = next(parent for parent in (place, *place.parents) if parent.exists())
        device = folder.stat().st_dev
        needed[device] += size
        folders[device] = folder
    return all(shutil.disk_usage(folders[device]).free >= total + _RESERVE for device, total in needed.items())
