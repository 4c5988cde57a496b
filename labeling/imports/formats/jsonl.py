"""JSONL: one JSON object per line."""

from collections.abc import Iterator
from typing import IO

from labeling.imports.formats.base import FileHead, Format, Source
from labeling.imports.formats.encodings import read_text, to_utf8
from labeling.imports.formats.json_values import EXTENSION, first_line
from labeling.imports.formats.page_layout import LAYOUT, laid_out_rows
from labeling.imports.rows import MAX_LINE, ParsedRow
from slmstudio.contract.json_text import JsonError, loads

_EXTENSIONS = (".jsonl", ".ndjson")


def detect(head: FileHead) -> bool:
    """A line that is an object, in a file of any name; in a text file only if it looks like a row or a task."""
    if not head.start.startswith(b"{"):
        return False
    if head.suffix in (EXTENSION, *_EXTENSIONS):
        return True
    line = first_line(head)
    return isinstance(line, dict) and (not head.declared or bool({"text", "data"} & line.keys()))


def rows(source: Source) -> Iterator[ParsedRow]:
    """One row per line."""
    parsed = read_text(source, lambda file, encoding: parse_jsonl(to_utf8(file, encoding)))
    return laid_out_rows(parsed, source.context)


def parse_jsonl(stream: IO[bytes]) -> Iterator[ParsedRow]:
    """The rows of a JSONL file, one per line that is not blank; a line that is not JSON is a row with an error.

    A line over 4 MB is skipped without being read into memory.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield ParsedRow(1, error="the file is in UTF-16; save it as UTF-8")
            return
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield ParsedRow(number, error=f"the line is longer than {MAX_LINE // 1_000_000} MB")
        elif not line.isspace():
            yield _parse(number, line)


def _parse(number: int, line: bytes) -> ParsedRow:
    line = line.rstrip(b"\r\n")
    raw = line.decode(errors="replace").replace("\0", "\N{SYMBOL FOR NULL}")
    try:
        return ParsedRow(number, loads(line), raw=raw)
    except JsonError as error:
        return ParsedRow(number, error=f"not JSON: {error.message} (line {number}, column {error.column})", raw=raw)


FORMAT = Format(
    "jsonl",
    "JSONL: one JSON object per line",
    rows,
    extensions=_EXTENSIONS,
    detect=detect,
    options=(LAYOUT,),
    is_line_based=True,
)
