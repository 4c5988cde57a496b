"""Zips: every file in one is read by its own kind, and a broken or hostile one costs only itself."""

import logging
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from labeling.imports.formats import KINDS, Context, ReadError
from labeling.imports.formats.file_types import guess
from labeling.imports.formats.zip_files import opened
from labeling.imports.rows import ParsedRow

_log = logging.getLogger(__name__)

MOST_BYTES: Final = 8 * 1024**3
MOST_BYTES_OF_ONE: Final = 2 * 1024**3
#: a file that grows by more than this when it is unpacked is a bomb, unless it stays small
_RATIO: Final = 250
_SMALL: Final = 16 * 1024**2
_CHUNK: Final = 1 << 20
#: what systems and Datasets leave in folders, passed over without a word
_LEFT_OUT: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_OF_DATASETS: Final = ("dataset_info.json", "state.json", "dataset_dict.json")

#: reads one file: (path, kind, name inside the zip) -> rows
ReadFile = Callable[[Path, str, str], Iterator[ParsedRow]]


class _EntryError(ValueError):
    """Why one file of a zip is not read, as a sentence."""


@dataclass(slots=True)
class Progress:
    """How much of the zip was read: packed bytes, and how many there are."""

    done: int = 0
    total: int = 1

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.done / max(1, self.total))


@dataclass(slots=True)
class _Budget:
    """Bytes that may still be unpacked; those of refused files count too, or many bombs would take for ever."""

    left: int


def rows(path: Path, context: Context, read: ReadFile, progress: Progress, *, only: str = "") -> Iterator[ParsedRow]:
    """The rows of all files of a zip, each with the file it comes from; ``only`` one kind of them where that is given.

    Raises:
        ReadError: it is no zip that can be opened.
    """
    with opened(path, "It") as archive:
        entries = [entry for entry in archive.infolist() if not _is_passed_over(entry)]
        if any(entry.filename.endswith(".arrow") for entry in entries):
            entries = [entry for entry in entries if not entry.filename.endswith(_OF_DATASETS)]
        progress.total = max(1, sum(entry.compress_size for entry in entries))
        budget = _Budget(MOST_BYTES)
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
                    kind = guess(target, name)
                    if kind == "zip":
                        raise _EntryError("a zip inside a zip is not opened; unpack it")
                    if only and kind != only:
                        raise _EntryError(f"it is not of the kind that was chosen ({KINDS[only]})")
                except (_EntryError, ReadError) as error:
                    yield ParsedRow(number, {"id": name[:200]}, str(error), file=name)
                else:
                    yield from _rows_of(target, kind, name, read)
            progress.done += entry.compress_size


def unpack_first(path: Path, endings: tuple[str, ...], target: Path) -> None:
    """Unpacks the first file, by name, that ends like this, with the limits of an import.

    Raises:
        ReadError: there is none, or it is not taken; says why.
    """
    with opened(path, "It") as archive:
        entries = [entry for entry in archive.infolist() if not _is_passed_over(entry)]
        found = sorted((entry for entry in entries if entry.filename.endswith(endings)), key=lambda e: e.filename)
        if not found:
            raise ReadError(f"The folder has no file that ends in {' or '.join(endings)}.")
        try:
            _check(found[0], set())
            _unpack(archive, found[0], target, _Budget(MOST_BYTES))
        except _EntryError as error:
            raise ReadError(f"{_name(found[0])} cannot be read: {error}.") from None


def _rows_of(path: Path, kind: str, name: str, read: ReadFile) -> Iterator[ParsedRow]:
    try:
        for parsed in read(path, kind, name):
            yield replace(parsed, file=name)
    except ReadError as error:
        yield ParsedRow(1, {"id": name[:200]}, str(error), file=name)
    except Exception as error:  # whatever a file does to its reader, the others are read
        _log.exception("reading %s of a zip", name)
        yield ParsedRow(1, {"id": name[:200]}, f"it cannot be read ({type(error).__name__})", file=name)


def _is_passed_over(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    return entry.is_dir() or name.startswith(_LEFT_OUT[0]) or name.rsplit("/", 1)[-1] in _LEFT_OUT[1:]


def _name(entry: zipfile.ZipInfo) -> str:
    """As it is shown: no control characters, no halves of pairs."""
    return "".join(c for c in entry.filename if c.isprintable())[:400] or "a file without a name"


def _check(entry: zipfile.ZipInfo, seen: set[str]) -> None:
    name = entry.filename
    if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") or (len(name) > 1 and name[1] == ":"):
        raise _EntryError("its path leads out of the folder")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _EntryError("it is a link to another file, and links are not followed")
    if entry.flag_bits & 0x1:
        raise _EntryError("it is encrypted; pack it without a password")
    if name in seen:
        raise _EntryError("a file of this name stands in the zip twice")
    seen.add(name)


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, budget: _Budget) -> None:
    """Unpacks one file, watching how it grows instead of believing what the zip says."""
    most = min(MOST_BYTES_OF_ONE, max(_SMALL, _RATIO * entry.compress_size))
    size = 0
    try:
        with archive.open(entry) as source, target.open("wb") as out:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                budget.left -= len(chunk)
                if budget.left < 0:
                    raise _EntryError(f"the zip grows to more than {MOST_BYTES // 1024**2:,} MB in all")
                if size > most:
                    raise _EntryError(
                        f"it grows to more than {most // 1024**2:,} MB when it is unpacked, which is more than is taken"
                    )
                if shutil.disk_usage(target.parent).free < 256 * 1024**2:
                    raise _EntryError("the disk is full")
                out.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise _EntryError(f"it is damaged in the zip ({str(error)[:100] or type(error).__name__})") from None
