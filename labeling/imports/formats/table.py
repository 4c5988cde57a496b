"""CSV and TSV: a table with a line of names, read row after row; a broken row costs only itself."""

import csv
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from labeling.datasets.formats.table import unescape_formula
from labeling.imports.formats import Context, ReadError, columns, encodings
from labeling.imports.rows import MAX_LINE, ParsedRow

DELIMITERS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: the encodings that can be chosen
ENCODINGS: Final = {name: encodings.NAMES[name] for name in ("utf-8", "cp1252", "utf-16")}
#: physical lines that one record may have; a quote that is open longer is taken for one that was never closed
MOST_LINES: Final = 20_000
MOST_COLUMNS: Final = 500
_HEAD: Final = 64 * 1024

csv.field_size_limit(MAX_LINE)


class _EndlessError(Exception):
    """A record does not end."""


class _UnreadableError(Exception):
    """A line is not in the encoding; the message is a sentence."""


class _Lines:
    """Physical lines for the CSV parser, which can be taken back as far as the start of the record."""

    def __init__(self, stream: IO[bytes], layout: "Layout") -> None:
        self.stream = encodings.as_utf8(stream, layout.encoding)
        self.encoding = layout.encoding
        self.number = 0
        self.back: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.size = 0

    def begin(self) -> int:
        """A record starts with the next line; its number."""
        self.taken, self.size = [], 0
        return self.number + 1

    def rewind(self) -> None:
        """Gives back all lines of the record but the first: the next record starts right behind that."""
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
        if self.size > MAX_LINE or len(self.taken) > MOST_LINES:
            raise _EndlessError
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise _UnreadableError(encodings.invalid("line", self.encoding, error)) from None


@dataclass(frozen=True)
class Layout:
    """How a table is written."""

    delimiter: str
    encoding: str
    header: bool

    @classmethod
    def of(cls, options: Mapping[str, object], stream: IO[bytes]) -> "Layout":
        """As the options say; what they do not say is seen in the table, which stands at its start again."""
        encoding = str(options.get("encoding") or encodings.detect(stream))
        if encoding not in encodings.NAMES:
            raise ReadError(f"There is no encoding {encoding}.")
        head = stream.read(_HEAD)
        stream.seek(0)
        delimiter = str(options.get("delimiter") or _delimiter(head.decode(encoding, "replace")))
        if delimiter not in DELIMITERS:
            raise ReadError("The cells can be parted by comma, semicolon, tab or bar.")
        return cls(delimiter, encoding, bool(options.get("header", True)))


def _delimiter(head: str) -> str:
    """The character that parts the first lines into the same number of cells, most of them."""
    best, found = 0.0, ","
    lines = [line for line in head.splitlines()[:20] if line.strip()]
    for delimiter in DELIMITERS:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:
            continue
        if counts and counts[0] > 1:
            score = sum(count == counts[0] for count in counts) / len(counts) + counts[0] / 1000
            if score > best:
                best, found = score, delimiter
    return found


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table: the number of its first line, its cells, or why it cannot be read."""

    line: int
    cells: list[str]
    error: str = ""
    raw: str = ""


def records(stream: IO[bytes], layout: Layout) -> Iterator[Record]:
    """Every record of a table, the line of names included; blank lines are passed over."""
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
        except _EndlessError:
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
    return f"a quotation mark that opens in line {begin} is never closed"


def _broken(message: str, begin: int, lines: _Lines) -> str:
    if "unexpected end of data" in message:
        lines.rewind()
        return f"a quotation mark that opens in line {begin} is never closed"
    lines.rewind()
    if "expected after" in message:
        return "something follows the quotation mark that closes a cell; a quotation mark inside a cell is doubled"
    if "field larger" in message:
        return f"a cell is longer than {MAX_LINE // 1_000_000} MB"
    if "new-line character" in message:
        return "a line break of an old Mac stands in the line; save the file with other line breaks"
    return f"not a row of a table: {message}"


def names_of(first: list[str], layout: Layout) -> list[str]:
    """The names of the columns: of the first line, made unique, or numbers where there is no such line.

    Raises:
        ReadError: there are too many of them.
    """
    if len(first) > MOST_COLUMNS:
        raise ReadError(f"The table has {len(first):,} columns; at most {MOST_COLUMNS} are read.")
    names: list[str] = []
    for number, cell in enumerate(first, 1):
        name = " ".join(cell.split())[:100] if layout.header else ""
        name = name or f"column {number}"
        while name in names:
            name = f"{name} ({number})"
        names.append(name)
    return names


def rows(stream: IO[bytes], context: Context) -> Iterator[ParsedRow]:
    """The rows of a table, by the columns that ``options["columns"]`` maps, or by a guess at them."""
    layout = Layout.of(context.options, stream)
    mapper: columns.Mapper | None = None
    names: list[str] = []
    for record in records(stream, layout):
        if mapper is None:
            if record.error:
                raise ReadError(f"The first line of the table cannot be read: {record.error}.")
            names = names_of(record.cells, layout)
            mapper = mapper_of(names, context)
            if layout.header:
                continue
        yield _row(record, names, mapper)


def mapper_of(names: list[str], context: Context) -> columns.Mapper:
    """The mapping that was chosen, or a guess.

    Raises:
        ReadError: no column is known to be the text, or the mapping does not fit the table.
    """
    chosen = context.options.get("columns")
    mapping = dict(chosen) if isinstance(chosen, Mapping) else columns.guess(names, context.compiled)
    wrong = columns.problem(mapping, names, context.compiled)
    if wrong:
        raise ReadError(f"{wrong} The columns are: {', '.join(names[:20])}.")
    return columns.Mapper(mapping, context.compiled)


def _row(record: Record, names: list[str], mapper: columns.Mapper) -> ParsedRow:
    if record.error:
        return ParsedRow(record.line, None, record.error, record.raw)
    cells = [
        unescape_formula(cell) for cell in record.cells
    ]  # an apostrophe that keeps spreadsheets from running a cell
    if len(cells) != len(names):
        error = f"the row has {len(cells)} cells and the table {len(names)} columns"
        return ParsedRow(record.line, None, error, record.raw)
    try:
        return ParsedRow(record.line, mapper.row(dict(zip(names, cells, strict=True))), "", record.raw)
    except ValueError as error:
        return ParsedRow(record.line, None, str(error), record.raw)


@dataclass(frozen=True)
class Preview:
    """The first rows of a table, and how they were read."""

    names: list[str]
    rows: list[list[str]]
    layout: Layout | None = None


def preview(stream: IO[bytes], options: Mapping[str, object], most: int = 8) -> Preview:
    """The names of the columns and the first rows.

    Raises:
        ReadError: there is no table.
    """
    layout = Layout.of(options, stream)
    names: list[str] = []
    shown: list[list[str]] = []
    for record in records(stream, layout):
        if not names:
            if record.error:
                raise ReadError(f"The first line of the table cannot be read: {record.error}.")
            names = names_of(record.cells, layout)
            if layout.header:
                continue
        shown.append(record.cells or [record.error])
        if len(shown) == most:
            break
    if not names:
        raise ReadError("The table is empty.")
    return Preview(names, shown, layout)
