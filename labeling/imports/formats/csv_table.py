"""CSV and TSV: a table with a line of column names. A broken row is rejected, the others are read."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from labeling.imports.formats import column_mapping, encodings
from labeling.imports.formats.base import Context, Format, Option, Source
from labeling.imports.rows import MAX_LINE, ParsedRow, ReadError
from slmstudio.text.spreadsheets import unescape_formula

DELIMITER: Final = Option(
    "delimiter", "Delimiter", {",": "Comma", ";": "Semicolon", "\t": "Tab", "|": "Vertical bar"}, is_detected=True
)
ENCODING: Final = Option(
    "encoding",
    "Encoding",
    {name: encodings.NAMES[name] for name in ("utf-8", "cp1252", "utf-16")},
    is_detected=True,
    detected_only={name: encodings.NAMES[name] for name in ("utf-16-le", "utf-16-be")},
)
HEADER: Final = Option("header", "First line", {True: "Column names", False: "Data row"})
#: of one record; a quotation mark that is open for longer is treated as never closed
MAX_LINES: Final = 20_000
_HEAD: Final = 64 * 1024

csv.field_size_limit(MAX_LINE)


class _UnterminatedRecordError(Exception):
    """A record does not end."""


class _UnreadableError(Exception):
    """A line is not in the encoding; the message is a sentence."""


class _Lines:
    """Physical lines for the CSV parser; it can go back to the second line of a record."""

    def __init__(self, stream: IO[bytes], layout: "Layout") -> None:
        self.stream = encodings.to_utf8(stream, layout.encoding)
        self.encoding = layout.encoding
        self.number = 0
        self.back: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.size = 0

    def begin(self) -> int:
        """Starts a record with the next line; returns its number."""
        self.taken, self.size = [], 0
        return self.number + 1

    def rewind(self) -> None:
        """Puts back all lines of the record but the first: the next record starts after it."""
        again = self.taken[1:]
        self.back.extendleft(reversed(again))
        self.number -= len(again)
        self.taken = self.taken[:1]

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.back.popleft() if self.back else self.stream.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        self.size += len(line)
        if len(line) > MAX_LINE and not line.endswith(b"\n"):
            while rest := self.stream.readline(MAX_LINE):
                if rest.endswith(b"\n"):
                    break
        if self.size > MAX_LINE or len(self.taken) > MAX_LINES:
            raise _UnterminatedRecordError
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise _UnreadableError(encodings.invalid("line", self.encoding, error)) from None


@dataclass(frozen=True)
class Layout:
    """The delimiter and encoding of a table, and whether it has a header line."""

    delimiter: str
    encoding: str
    header: bool

    @classmethod
    def from_options(cls, options: Mapping[str, object], stream: IO[bytes]) -> "Layout":
        """By the options; what they leave open is detected. Rewinds the stream."""
        encoding = str(options.get("encoding") or encodings.detect(stream))
        if encoding not in encodings.NAMES:
            raise ReadError(f"Unknown encoding {encoding}.")
        head = stream.read(_HEAD)
        stream.seek(0)
        delimiter = str(options.get("delimiter") or _delimiter(head.decode(encoding, "replace")))
        if error := DELIMITER.error(delimiter):
            raise ReadError(error)
        return cls(delimiter, encoding, bool(options.get("header", True)))


def _delimiter(head: str) -> str:
    """The character that splits most of the first lines into the same number of cells."""
    best, detected = 0.0, ","
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    for delimiter in map(str, DELIMITER.choices):
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:
            continue
        if counts and counts[0] > 1:
            score = sum(count == counts[0] for count in counts) / len(counts) + counts[0] / 1000
            if score > best:
                best, detected = score, delimiter
    return detected


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table: the number of its first line, its cells, or the error."""

    line: int
    cells: list[str]
    error: str = ""
    raw: str = ""


def records(stream: IO[bytes], layout: Layout) -> Iterator[Record]:
    """Every record of a table, including the header line; blank lines are skipped."""
    lines = _Lines(stream, layout)
    reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
    while True:
        begin = lines.begin()
        error = ""
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _UnreadableError as unreadable:
            error = str(unreadable)
        except _UnterminatedRecordError:
            error = _never_closed(begin, lines)
        except csv.Error as broken:
            error = _broken(str(broken), begin, lines)
        if error:
            reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
        raw = b"".join(lines.taken[:50]).decode(errors="replace").rstrip("\r\n").replace("\0", "␀")
        if error or cells:
            yield Record(begin, cells, error, raw[:MAX_LINE])


def _never_closed(begin: int, lines: _Lines) -> str:
    if len(lines.taken) == 1:
        return f"the line is longer than {MAX_LINE // 1_000_000} MB"
    lines.rewind()
    return f"a quotation mark that opens on line {begin} is never closed"


def _broken(message: str, begin: int, lines: _Lines) -> str:
    if "unexpected end of data" in message:
        lines.rewind()
        return f"a quotation mark that opens on line {begin} is never closed"
    lines.rewind()
    if "expected after" in message:
        return "a character follows the quotation mark that closes a cell; double quotation marks inside cells"
    if "field larger" in message:
        return f"a cell is longer than {MAX_LINE // 1_000_000} MB"
    if "new-line character" in message:
        return "the line contains a carriage return; save the file with other line breaks"
    return f"not a row of a table: {message}"


def names_of(first: list[str], layout: Layout) -> list[str]:
    """The column names: from the header line, made unique; numbered if there is none.

    Raises:
        ReadError: there are too many.
    """
    if len(first) > column_mapping.MAX_COLUMNS:
        raise ReadError(f"The table has {len(first):,} columns; the maximum is {column_mapping.MAX_COLUMNS}.")
    names: list[str] = []
    for number, cell in enumerate(first, 1):
        name = " ".join(cell.split())[:100] if layout.header else ""
        name = name or f"column {number}"
        while name in names:
            name = f"{name} ({number})"
        names.append(name)
    return names


def rows(source: Source) -> Iterator[ParsedRow]:
    """The rows of a table, with the column roles of ``options["columns"]`` or guessed ones."""
    chosen = str(source.context.options.get("encoding") or "")
    return encodings.read_text(source, lambda file, encoding: _rows(file, encoding, source.context), chosen)


def _rows(stream: IO[bytes], encoding: str, context: Context) -> Iterator[ParsedRow]:
    layout = Layout.from_options({**context.options, "encoding": encoding}, stream)
    mapper: column_mapping.Mapper | None = None
    names: list[str] = []
    for record in records(stream, layout):
        if mapper is None:
            if record.error:
                raise ReadError(f"The first line of the table cannot be read: {record.error}.")
            names = names_of(record.cells, layout)
            mapper = column_mapping.mapper_of(names, context)
            if layout.header:
                continue
        yield _row(record, names, mapper)


def _row(record: Record, names: list[str], mapper: column_mapping.Mapper) -> ParsedRow:
    if record.error:
        return ParsedRow(record.line, None, record.error, record.raw)
    cells = [
        unescape_formula(cell) for cell in record.cells
    ]  # without the apostrophe that keeps spreadsheets from running a formula
    if len(cells) != len(names):
        error = f"the number of cells ({len(cells)}) differs from the number of columns ({len(names)})"
        return ParsedRow(record.line, None, error, record.raw)
    try:
        return ParsedRow(record.line, mapper.row(dict(zip(names, cells, strict=True))), "", record.raw)
    except ValueError as error:
        return ParsedRow(record.line, None, str(error), record.raw)


def preview(path: Path, options: Mapping[str, object], limit: int = 8) -> column_mapping.Preview:
    """The column names and the first rows.

    Raises:
        ReadError: it is not a table.
    """
    names: list[str] = []
    shown: list[list[str]] = []
    with path.open("rb") as stream:
        layout = Layout.from_options(options, stream)
        for record in records(stream, layout):
            if not names:
                if record.error:
                    raise ReadError(f"The first line of the table cannot be read: {record.error}.")
                names = names_of(record.cells, layout)
                if layout.header:
                    continue
            shown.append(record.cells or [record.error])
            if len(shown) == limit:
                break
    if not names:
        raise ReadError("The table is empty.")
    return column_mapping.Preview(names, shown, {"delimiter": layout.delimiter, "encoding": layout.encoding})


FORMAT = Format(
    "csv",
    "CSV or TSV: a table",
    rows,
    extensions=(".csv", ".tsv", ".tab"),
    options=(DELIMITER, ENCODING, HEADER),
    trusts_extension=True,
    is_line_based=True,
    preview=preview,
)
