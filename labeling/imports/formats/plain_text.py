"""Plain text: one document per file, paragraph or line."""

from collections.abc import Iterator
from typing import IO, Final

from labeling.imports.formats.base import PASTED, Format, Option, Source
from labeling.imports.formats.encodings import invalid, read_text, to_utf8
from labeling.imports.rows import MAX_LINE, MAX_TEXT, ParsedRow

SPLIT: Final = Option(
    "split",
    "Split plain texts",
    {
        "whole": "One document per file",
        "paragraphs": "One document per paragraph",
        "lines": "One document per line",
    },
)
_TOO_LONG: Final = f"the text is longer than {MAX_TEXT // 1_000_000} MB"


def rows(source: Source) -> Iterator[ParsedRow]:
    """The documents of a text, by ``options["split"]``. The id of a whole file is its name."""
    split = str(source.context.options.get("split", "whole"))
    return read_text(source, lambda file, encoding: _rows(to_utf8(file, encoding), encoding, source.name, split))


def _rows(stream: IO[bytes], encoding: str, name: str, split: str) -> Iterator[ParsedRow]:
    if split == "whole":
        yield _row(1, stream.read(MAX_LINE + 1), None if name == PASTED else name, encoding)
        return
    for number, lines in _blocks(stream, paragraphs=split == "paragraphs"):
        yield _row(number, lines, None, encoding)


def _row(number: int, data: bytes, name: str | None, encoding: str) -> ParsedRow:
    if len(data) > MAX_LINE:
        return ParsedRow(number, {"id": name}, error=_TOO_LONG)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return ParsedRow(number, {"id": name}, error=invalid("text", encoding, error))
    return ParsedRow(number, {"id": name, "text": text.replace("\r\n", "\n")})


def _blocks(stream: IO[bytes], *, paragraphs: bool) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of every line or paragraph that is not blank, truncated at the limit plus one."""
    block, begin, number = bytearray(), 1, 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        whole = line.endswith(b"\n")
        while not whole and len(line) == MAX_LINE + 1:
            rest = stream.readline(MAX_LINE)
            whole = rest.endswith(b"\n") or not rest
        if paragraphs and line.strip():
            begin = begin if block else number
            block += line[: MAX_LINE + 1 - len(block)]
            continue
        if block:
            yield begin, bytes(block).rstrip()
            block.clear()
        if line.strip():
            yield number, line.rstrip()
    if block:
        yield begin, bytes(block).rstrip()


FORMAT = Format(
    "text",
    "Text: the whole file is one document",
    rows,
    extensions=(".txt", ".text", ".md"),
    options=(SPLIT,),
    unit="document",
    is_line_based=True,
)
