"""JSON: the values of a list, or values that follow each other, streamed one at a time."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from labeling.imports.formats.base import FileHead, Format, Source
from labeling.imports.formats.encodings import read_text, to_utf8
from labeling.imports.formats.page_layout import LAYOUT, laid_out_rows
from labeling.imports.rows import MAX_LINE, ParsedRow
from slmstudio.contract.json_text import JsonError, loads

EXTENSION: Final = ".json"
#: a list is JSON in files of these names; in others it must hold objects
_LIST_EXTENSIONS: Final = (EXTENSION, ".jsonl", ".ndjson")
CHUNK: Final = 1 << 20
_OUTSIDE = re.compile(rb'["{}\[\],]')
_INSIDE = re.compile(rb'["\\]')


@dataclass(frozen=True, slots=True)
class Value:
    """The bytes of one value. ``complete``: it ends before the file does; ``long``: it was skipped as too long."""

    text: bytes
    complete: bool = True
    long: bool = False


class _Splitter:
    """Follows brackets and quotes through chunks of bytes; ``depth`` counts the open brackets."""

    def __init__(self, listed: bool) -> None:
        self.listed = listed
        self.depth = 0
        self.quoted = False
        self.escaped = False
        self.skipping = False
        self.ended = False
        self.pieces = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Value]:
        position = begin = 0
        while position < len(chunk) and not self.ended:
            if self.escaped:
                self.escaped = False
                position += 1
                continue
            match = (_INSIDE if self.quoted else _OUTSIDE).search(chunk, position)
            if match is None:
                break
            position = match.end()
            sign = chunk[match.start()]
            if self.quoted:
                self.escaped = sign == 0x5C
                self.quoted = sign != 0x22
            elif sign == 0x22:
                self.quoted = True
            elif sign in b"{[":
                self.depth += 1
            elif sign == 0x2C:
                if not self.depth:  # the comma between two values of the list
                    yield from self._cut(chunk[begin : match.start()])
                    begin = position
            elif self.depth:
                self.depth -= 1
                if not self.depth and not self.listed:
                    yield from self._cut(chunk[begin:position])
                    begin = position
            else:  # the bracket that ends the list
                yield from self._cut(chunk[begin : match.start()])
                begin = position
                self.ended = True
        self._keep(chunk[begin:])

    def rest(self) -> Iterator[Value]:
        """What is left at the end of the file: a truncated value, or one that follows the list."""
        if self.skipping:
            yield Value(b"", long=True)
        elif self.pieces.strip():
            whole = not self.depth and not self.quoted and not self.listed
            yield Value(bytes(self.pieces).strip(), complete=whole or self.ended)

    def _keep(self, piece: bytes) -> None:
        if self.skipping:
            return
        self.pieces += piece
        if len(self.pieces) > MAX_LINE:
            self.skipping = True
            self.pieces.clear()

    def _cut(self, piece: bytes) -> Iterator[Value]:
        self._keep(piece)
        text, long = bytes(self.pieces).strip(), self.skipping
        self.pieces.clear()
        self.skipping = False
        if text or long:
            yield Value(text, long=long)


def iterate_values(chunks: Iterable[bytes]) -> Iterator[Value]:
    """The values of a list (``[{...}, {...}]``), or of values that follow each other with or without line breaks.

    A value over 4 MB is skipped and marked ``long``; memory holds one value.
    """
    splitter: _Splitter | None = None
    head = b""
    for chunk in chunks:
        if splitter is None:
            head = (head + chunk).lstrip()
            if not head:
                continue
            listed = head.startswith(b"[")
            splitter = _Splitter(listed)
            chunk = head[1:] if listed else head
        yield from splitter.feed(chunk)
    if splitter is not None:
        yield from splitter.rest()


def rows(source: Source) -> Iterator[ParsedRow]:
    """The rows of a JSON file: a list of objects, or objects that follow each other."""
    parsed = read_text(source, lambda file, encoding: _rows(to_utf8(file, encoding)))
    return laid_out_rows(parsed, source.context)


def _rows(stream: IO[bytes]) -> Iterator[ParsedRow]:
    for number, (value, error, raw) in enumerate(parsed_values(stream), 1):
        yield ParsedRow(number, value, error, raw)


def parsed_values(stream: IO[bytes]) -> Iterator[tuple[object, str, str]]:
    """Every value of a JSON file as (value, why it cannot be read, its text)."""
    for value in iterate_values(_chunks(stream)):
        raw = value.text.decode(errors="replace").replace("\0", "\N{SYMBOL FOR NULL}")
        if value.long:
            yield None, f"the row is longer than {MAX_LINE // 1_000_000} MB", ""
        elif value.text.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield None, "the file is in UTF-16; save it as UTF-8", ""
            return
        elif not value.complete:
            yield None, "the file ends in the middle of this row: it is truncated, or a bracket is missing", raw
        else:
            try:
                yield loads(value.text), "", raw
            except JsonError as error:
                place = f"line {error.line}, column {error.column} of the row"
                yield None, f"not JSON: {error.message} ({place})", raw


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    first = True
    while chunk := stream.read(CHUNK):
        yield chunk.removeprefix(b"\xef\xbb\xbf") if first else chunk
        first = False


# -- detection ---------------------------------------------------------------------------------------------------------


def first_line(head: FileHead) -> object:
    """The value in the first line of a file; None if it is not JSON."""
    return _parsed(head.start.split(b"\n", 1)[0])


def first_item(head: FileHead) -> object:
    """The first value of a list; None if it is not JSON or goes on after the head."""
    for value in iterate_values(iter([head.start])):
        return _parsed(value.text) if value.complete else None
    return None


def _parsed(text: bytes) -> object:
    try:
        return loads(text)
    except JsonError:
        return None


def is_list(head: FileHead) -> bool:
    """Whether the file is a list: of anything where its extension says JSON, else of objects."""
    return head.start.startswith(b"[") and (head.suffix in _LIST_EXTENSIONS or isinstance(first_item(head), dict))


def is_spread(head: FileHead) -> bool:
    """Whether the file is named .json and begins with an object of several lines."""
    return head.suffix == EXTENSION and head.start.startswith(b"{") and first_line(head) is None


FORMAT = Format(
    "json",
    "JSON: a list of objects",
    rows,
    extensions=(EXTENSION,),
    detect=lambda head: is_list(head) or is_spread(head),
    options=(LAYOUT,),
)
