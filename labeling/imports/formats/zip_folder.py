"""Zips: every file is read in its own format. A broken or hostile file is rejected, the others are read."""

import logging
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from labeling.imports.formats.base import FileHead, Format, Source, detect_format, open_zip
from labeling.imports.rows import ParsedRow, ReadError

_log = logging.getLogger(__name__)

MAX_BYTES: Final = 8 * 1024**3
MAX_FILE_BYTES: Final = 2 * 1024**3
#: a file that grows by a larger factor is a zip bomb, unless it is small
_MAX_RATIO: Final = 250
_SMALL: Final = 16 * 1024**2
_CHUNK: Final = 1 << 20
#: files of operating systems and of Datasets, ignored
_SYSTEM_FILES: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_DATASETS_FILES: Final = ("dataset_info.json", "state.json", "dataset_dict.json")
_OFFICE_FOLDERS: Final = ("word/", "xl/", "ppt/")


class _EntryError(ValueError):
    """Why a file of a zip is not read."""


@dataclass(slots=True)
class _Budget:
    """Bytes that may still be unpacked; rejected files count too, or a zip of many bombs would take hours."""

    bytes_left: int


def rows(source: Source, *, only: Format | None = None) -> Iterator[ParsedRow]:
    """The rows of all files of a zip, each with the name of its file; ``only`` those of one format if it is given.

    Raises:
        ReadError: it is not a zip that can be opened.
    """
    context, formats = source.context, source.session.formats
    with open_zip(source.path, "It") as archive:
        entries = [entry for entry in archive.infolist() if not _is_ignored(entry)]
        if any(entry.filename.endswith(".arrow") for entry in entries):
            entries = [entry for entry in entries if not entry.filename.endswith(_DATASETS_FILES)]
        total = max(1, sum(entry.compress_size for entry in entries))
        done = 0
        budget = _Budget(MAX_BYTES)
        seen: set[str] = set()
        for number, entry in enumerate(entries, 1):
            if context.stopped():
                return
            name = _name(entry)
            with tempfile.TemporaryDirectory(prefix="entry-", dir=context.folder) as folder:
                target = Path(folder) / "file"
                try:
                    _check(entry, seen)
                    _unpack(archive, entry, target, budget)
                    file_format = detect_format(target, name, formats)
                    if file_format is FORMAT:
                        raise _EntryError("it is a zip inside a zip; unzip it first")
                    if only is not None and file_format is not only:
                        raise _EntryError(f"it does not have the selected format ({only.title})")
                except (_EntryError, ReadError) as error:
                    yield ParsedRow(number, {"id": name[:200]}, str(error), file=name)
                else:
                    yield from _rows_of(file_format, Source(target, name, source.session, is_nested=True))
            done += entry.compress_size
            source.session.progress.share = min(1.0, done / total)


def unpack_first(path: Path, endings: tuple[str, ...], target: Path) -> None:
    """Unpacks the first file, by name, with one of these extensions, within the limits of an import.

    Raises:
        ReadError: there is none, or it cannot be unpacked.
    """
    with open_zip(path, "It") as archive:
        entries = [entry for entry in archive.infolist() if not _is_ignored(entry)]
        matches = sorted((entry for entry in entries if entry.filename.endswith(endings)), key=lambda e: e.filename)
        if not matches:
            raise ReadError(f"The folder has no {' or '.join(endings)} file.")
        try:
            _check(matches[0], set())
            _unpack(archive, matches[0], target, _Budget(MAX_BYTES))
        except _EntryError as error:
            raise ReadError(f"{_name(matches[0])} cannot be read: {error}.") from None


def _rows_of(file_format: Format, source: Source) -> Iterator[ParsedRow]:
    name = source.name
    try:
        for parsed in file_format.rows(source):
            yield replace(parsed, file=name)
    except ReadError as error:
        yield ParsedRow(1, {"id": name[:200]}, str(error), file=name)
    except Exception as error:  # one file must not stop the others
        _log.exception("reading %s of a zip", name)
        yield ParsedRow(1, {"id": name[:200]}, f"it cannot be read ({type(error).__name__})", file=name)


def _is_ignored(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return entry.is_dir() or name.startswith(_SYSTEM_FILES[0]) or name.rsplit("/", 1)[-1] in _SYSTEM_FILES[1:]


def _name(entry: zipfile.ZipInfo) -> str:
    """The name without control characters and lone surrogates."""
    return "".join(c for c in entry.filename if c.isprintable())[:400] or "unnamed file"


def _check(entry: zipfile.ZipInfo, seen: set[str]) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or (len(name) > 1 and name[1] == ":"):
        raise _EntryError("its path leads outside the folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _EntryError("it is a symbolic link; links are not followed")
    if entry.flag_bits & 0x1:
        raise _EntryError("it is encrypted; create it without a password")
    if name in seen:
        raise _EntryError("the zip contains two files with this name")
    seen.add(name)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: _Budget) -> None:
    """Unpacks one file, counting its bytes instead of trusting the sizes in the zip."""
    limit = min(MAX_FILE_BYTES, max(_SMALL, _MAX_RATIO * entry.compress_size))
    size = 0
    try:
        with archive.open(entry) as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                budget.bytes_left -= len(chunk)
                if budget.bytes_left < 0:
                    raise _EntryError(f"the zip unpacks to more than {MAX_BYTES // 1024**2:,} MB in total")
                if size > limit:
                    raise _EntryError(f"it unpacks to more than {limit // 1024**2:,} MB, which is over the limit")
                if shutil.disk_usage(target.parent).free < 256 * 1024**2:
                    raise _EntryError("the disk is full")
                out.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise _EntryError(f"it is damaged ({str(error)[:100] or type(error).__name__})") from None


def _detect(head: FileHead) -> bool:
    names = head.zip_names
    if "[Content_Types].xml" in names and any(name.startswith(_OFFICE_FOLDERS) for name in names):
        raise ReadError(f"{head.name} is an Office file; save it as PDF or CSV.")
    return head.is_zip


FORMAT = Format(
    "zip",
    "Folder (zip) of any of these",
    rows,
    detect=_detect,
    usual_extensions=(".zip",),
    unit="document",
    is_binary=True,
)
