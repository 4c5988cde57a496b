"""The types of export formats. Pure: rows in, chunks of a file out, on demand."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from slmstudio.contract.schema.compiled import CompiledSchema

JSONL: Final = "application/jsonl; charset=utf-8"
#: lines per chunk: each chunk costs a system call
CHUNK_LINES: Final = 256
#: names of a row that metadata cannot have
RESERVED: Final = frozenset({"id", "text", "gold", "tags"})


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A document to export. ``gold``: its label with exact numbers, None without one; ``split``: outside a dataset
    version, "holdout" or ""; ``metadata``: the metadata of its import.
    """

    id: str
    text: str
    gold: Any
    tags: list[str]
    origin: str = ""
    split: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExportContext:
    """What all rows of an export share."""

    title: str
    instruction: str
    compiled: CompiledSchema


@dataclass(frozen=True)
class Format:
    """An export format. ``name`` is its name in URLs and the REST interface, ``write`` yields the chunks of the file.

    ``is_training``: a file for trainers. Its rows do not name their split, so a file has only one, and documents
    without a label are left out. ``has_pages``: it includes the line boxes of pages.
    """

    name: str
    title: str
    description: str
    extension: str
    content_type: str
    write: Callable[[Iterable[ExportRow], ExportContext], Iterator[bytes]]
    is_training: bool = False
    has_pages: bool = False


def extra_columns(row: ExportRow) -> dict[str, Any]:
    """The metadata of a row, and its split and origin if it has a split."""
    extra = {"split": row.split, "origin": row.origin} if row.split else {}
    return {name: value for name, value in (row.metadata | extra).items() if name not in RESERVED}


def chunked(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines in chunks of ``CHUNK_LINES``."""
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == CHUNK_LINES:
            yield "".join(chunk).encode()
            chunk.clear()
    if chunk:
        yield "".join(chunk).encode()
