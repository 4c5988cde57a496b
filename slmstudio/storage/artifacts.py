"""The artifact store: model folders, dataset files, outputs and logs, behind Django's storage API.

Keys are relative paths such as ``datasets/7/dataset.jsonl``. With the default storage a key is a file below
``var/artifacts``; work that needs a real path (a child process reads and writes files) asks for ``local_path``.
"""

from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import Storage, storages


def store() -> Storage:
    """The storage of artifacts."""
    return storages["artifacts"]


def write_text(key: str, text: str) -> None:
    """Stores a text under exactly this key, replacing an existing one."""
    if store().exists(key):
        store().delete(key)
    stored = store().save(key, ContentFile(text.encode()))
    if stored != key:
        raise RuntimeError(f"artifact {key} was stored as {stored}: concurrent writers")


def local_path(key: str) -> Path:
    """The path of a key on this machine; its parent folder is created."""
    path = Path(store().path(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
