"""One door to all formats: a file and its kind in, rows out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from labeling.imports.formats import (
    KINDS,
    PASTED,
    Context,
    ReadError,
    archive,
    arrow,
    encodings,
    json_values,
    label_studio,
    scans,
    table,
    text,
)
from labeling.imports.formats.file_types import guess
from labeling.imports.rows import ParsedRow, parse_jsonl

__all__ = ["Reading", "guess", "open_rows"]


@dataclass(frozen=True)
class Reading:
    """The rows of a file, one after the other, and how much of it is read, from 0 to 1. ``pages``: of the PDF or image
    that is being read; ``encodings``: names of those that its texts are in, as they are met.
    """

    rows: Iterator[ParsedRow]
    share: Callable[[], float]
    pages: scans.PageProgress
    encodings: dict[str, None]


@contextmanager
def open_rows(path: Path, kind: str, name: str, context: Context) -> Iterator[Reading]:
    """Opens a file for reading. What cannot be read at all raises ReadError when its first row is asked for."""
    if kind not in KINDS:
        raise ReadError(f"There is no kind of file called {kind}.")
    met: dict[str, None] = {}
    with scans.Scanner(context) as scanner:
        if kind == "zip" or (kind == "dataset" and _is_zip(path)):
            progress = archive.Progress()
            read = partial(_of_file, context=context, scanner=scanner, met=met)
            found = archive.rows(path, context, read, progress, only="dataset" if kind == "dataset" else "")
            yield Reading(found, lambda: progress.share, scanner.progress, met)
            return
        size = max(1, path.stat().st_size)
        position = [0]
        found = _of_file(path, kind, name, context, scanner, met, position)
        yield Reading(found, lambda: min(1.0, position[0] / size), scanner.progress, met)


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _of_file(
    path: Path,
    kind: str,
    name: str,
    context: Context,
    scanner: scans.Scanner,
    met: dict[str, None],
    position: list[int] | None = None,
) -> Iterator[ParsedRow]:
    if kind in ("pdf", "image"):
        yield scanner.row(1, path, kind, name)
        return
    if kind == "dataset":
        yield from arrow.rows(path, context)
        return
    with path.open("rb", buffering=1 << 20) as file:
        chosen = str(context.options.get("encoding", "")) if kind == "csv" else ""
        encoding = "utf-8" if name == PASTED else chosen or encodings.detect(file)
        met[encodings.NAMES[encoding]] = None
        if kind == "csv":
            rows = table.rows(file, replace(context, options={**context.options, "encoding": encoding}))
        else:
            stream = encodings.as_utf8(file, encoding)
            match kind:
                case "jsonl":
                    rows = parse_jsonl(stream)
                case "json":
                    rows = json_values.rows(stream, context)
                case "labelstudio":
                    rows = label_studio.rows(stream, context)
                case _:
                    rows = text.rows(stream, context, name, encoding)
        if position is None:
            yield from rows
            return
        for number, row in enumerate(rows):
            if not number % 64:
                position[0] = file.tell()
            yield row
