"""Hashes of files and folders, which tell whether the files on the disk are the approved ones."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict


class FileEntry(TypedDict):
    """One file of a folder: its path relative to the folder, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file, in hex, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_manifest(folder: Path | str) -> list[FileEntry]:
    """Every file below ``folder``, sorted by path."""
    root = Path(folder)
    files = sorted((p for p in root.rglob("*") if p.is_file()), key=lambda p: p.relative_to(root).as_posix())
    return [FileEntry(path=p.relative_to(root).as_posix(), size=p.stat().st_size, sha256=sha256_file(p)) for p in files]


def manifest_hash(manifest: list[FileEntry]) -> str:
    """SHA-256 over the sorted lines ``path NUL sha256 LF`` of a manifest."""
    lines = sorted(f"{entry['path']}\0{entry['sha256']}\n" for entry in manifest)
    return sha256_text("".join(lines))


def folder_hash(folder: Path | str) -> str:
    """The hash of a folder: that of its manifest."""
    return manifest_hash(folder_manifest(folder))


def changed_files(folder: Path) -> list[str]:
    """The files of a package that differ from its manifest ``package.json``, or are missing."""
    changed = []
    for entry in json.loads((folder / "package.json").read_text(encoding="utf-8"))["files"]:
        path = folder / entry["path"]
        if not path.is_file() or sha256_file(path) != entry["sha256"]:
            changed.append(str(entry["path"]))
    return changed
