"""Plain text: the whole file is one document, or every line, or every paragraph is."""

from collections.abc import Iterator
from typing import IO, Final

from labeling.imports.formats import PASTED, Context
from labeling.imports.formats.encodings import invalid
from labeling.imports.rows import MAX_LINE, MAX_TEXT, ParsedRow

#: how a text is cut into documents, and what people call it
SPLITS: Final = {
    "whole": "One document in all",
    "paragraphs": "One document per paragraph",
    "lines": "One document per line",
}
_TOO_LONG: Final = f"the text is longer than {MAX_TEXT // 1_000_000} MB"


def rows(stream: IO[bytes], context: Context, name: str, encoding: str = "utf-8") -> Iterator[ParsedRow]:
    """The documents of a text, by ``options["split"]``; a whole file is named by its name. ``stream`` is in UTF-8,
    ``encoding`` what the file itself is in.
    """
    split = context.options.get("split", "whole")
    if split == "whole":
        yield _row(1, stream.read(MAX_LINE + 1), None if name == PASTED else name, encoding)
        return
    for number, lines in _stretches(stream, paragraphs=split == "paragraphs"):
        yield _row(number, lines, None, encoding)


def _row(number: int, data: bytes, name: str | None, encoding: str) -> ParsedRow:
    if len(data) > MAX_LINE:
        return ParsedRow(number, {"id": name}, error=_TOO_LONG)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return ParsedRow(number, {"id": name}, error=invalid("text", encoding, error))
    return ParsedRow(number, {"id": name, "text": text.replace("\r\n", "\n")})


def _stretches(stream: IO[bytes], *, paragraphs: bool) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of every line or paragraph that is not blank; long ones are cut at the limit plus one."""
    held, begin, number = bytearray(), 1, 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        whole = line.endswith(b"\n")
        while not whole and len(line) == MAX_LINE + 1:
            rest = stream.readline(MAX_LINE)
            whole = rest.endswith(b"\n") or not rest
        if paragraphs and line.strip():
            begin = begin if held else number
            held += line[: MAX_LINE + 1 - len(held)]
            continue
        if held:
            yield begin, bytes(held).rstrip()
            held.clear()
        if line.strip():
            yield number, line.rstrip()
    if held:
        yield begin, bytes(held).rstrip()
