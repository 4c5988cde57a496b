"""One door to all formats: a file and its kind in, rows out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labeling.reading import KINDS, Context, ReadError, archive, arrow, labelstudio, scans, table, text, values
from labeling.reading.kinds import guess
from labeling.rows import ParsedRow, parse_jsonl

__all__ = ["Reading", "guess", "open_rows"]


@dataclass(frozen=True)
class Reading:
    """The rows of a file, one after the other, and how much of it is read, from 0 to 1."""

    rows: Iterator[ParsedRow]
    share: Callable[[], float]


@contextmanager
def open_rows(path: Path, kind: str, name: str, context: Context) -> Iterator[Reading]:
    """Opens a file for reading. What cannot be read at all raises ReadError when its first row is asked for."""
    if kind not in KINDS:
        raise ReadError(f"There is no kind of file called {kind}.")
    with scans.Scanner(context) as scanner:
        if kind == "zip" or (kind == "dataset" and _is_zip(path)):
            progress = archive.Progress()
            read = partial(_of_file, context=context, scanner=scanner)
            found = archive.rows(path, context, read, progress, only="dataset" if kind == "dataset" else "")
            yield Reading(found, lambda: progress.share)
            return
        size = max(1, path.stat().st_size)
        position = [0]
        yield Reading(_of_file(path, kind, name, context, scanner, position), lambda: min(1.0, position[0] / size))


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _of_file(
    path: Path,
    kind: str,
    name: str,
    context: Context,
    scanner: scans.Scanner,
    position: list[int] | None = None,
) -> Iterator[ParsedRow]:
    if kind in ("pdf", "image"):
        yield scanner.row(1, path, kind, name)
        return
    if kind == "dataset":
        yield from arrow.rows(path, context)
        return
    with path.open("rb", buffering=1 << 20) as file:
        match kind:
            case "jsonl":
                rows = parse_jsonl(file)
            case "json":
                rows = values.rows(file, context)
            case "csv":
                rows = table.rows(file, context)
            case "labelstudio":
                rows = labelstudio.rows(file, context)
            case _:
                rows = text.rows(file, context, name)
        if position is None:
            yield from rows
            return
        for number, row in enumerate(rows):
            if not number % 64:
                position[0] = file.tell()
            yield row
