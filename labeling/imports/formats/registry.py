"""All import formats. A new one is a module with a ``FORMAT``, a line here, and its test."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from labeling.imports.conversations.readings import Reading
from labeling.imports.formats import (
    arrow,
    chats,
    csv_table,
    json_values,
    jsonl,
    label_studio,
    plain_text,
    scans,
    zip_folder,
)
from labeling.imports.formats.base import Context, Format, Option, Progress, ReadError, Session, Source, detect_format
from labeling.imports.rows import ParsedRow

#: in the order in which they are listed; where two fit a file, the later one is detected
FORMATS: Final[dict[str, Format]] = {
    file_format.name: file_format
    for file_format in (
        jsonl.FORMAT,
        json_values.FORMAT,
        csv_table.FORMAT,
        plain_text.FORMAT,
        scans.PDF,
        scans.IMAGE,
        zip_folder.FORMAT,
        label_studio.FORMAT,
        chats.FORMAT,
        arrow.FORMAT,
    )
}
#: the options of all formats: a zip can hold files of any of them
OPTIONS: Final[dict[str, Option]] = {
    option.name: option for file_format in FORMATS.values() for option in file_format.options
}
#: maps the columns of a table to their roles (see ``columns``)
COLUMNS: Final = "columns"


@dataclass(frozen=True)
class OpenFile:
    """The rows of a file, how far they are read, and what files of exchanges were read as."""

    rows: Iterator[ParsedRow]
    progress: Progress
    readings: list[Reading]


@contextmanager
def open_file(path: Path, file_format: str, name: str, context: Context) -> Iterator[OpenFile]:
    """Opens a file for reading. A file that cannot be read raises ReadError when its first row is requested."""
    if file_format not in FORMATS:
        raise ReadError(f"Unknown format {file_format}.")
    with Session(context, FORMATS) as session:
        source = Source(path, name, session)
        yield OpenFile(_rows(FORMATS[file_format], source), session.progress, session.readings)


def _rows(file_format: Format, source: Source) -> Iterator[ParsedRow]:
    yield from file_format.rows(source)
    for leftover in source.session.leftovers:
        yield from leftover()


def detect(path: Path, name: str) -> Format:
    """The format of a file.

    Raises:
        ReadError: it is empty, or of a format that is not supported.
    """
    return detect_format(path, name, FORMATS)


def options_error(options: Mapping[str, Any], file_format: str) -> str:
    """Why these options are invalid for a format; "" if they are valid. Columns are checked when the table is read."""
    for name, value in options.items():
        if name == COLUMNS:
            if not FORMATS[file_format].is_table:
                tables = " and ".join(table.name for table in FORMATS.values() if table.is_table)
                return f"columns are for tables only: {tables}."
            if not isinstance(value, dict) or not all(isinstance(role, str) for role in value.values()):
                return "columns must be an object that maps column names to roles."
        elif name not in OPTIONS:
            return f"Unknown option {name[:60]}. The options are {', '.join((*OPTIONS, COLUMNS))}."
        elif error := OPTIONS[name].error(value):
            return error
    return ""


def describe_options() -> str:
    """The options and the formats they are for, for the REST documentation."""
    parts = [f"columns (an object that maps column names to roles) for {_names_with(COLUMNS)}"]
    for option in OPTIONS.values():
        values = ", ".join(str(value).lower() if isinstance(value, bool) else repr(value) for value in option.choices)
        parts.append(f"{option.name} ({values}) for {_names_with(option.name)}")
    return "; ".join(parts)


def _names_with(option: str) -> str:
    formats = FORMATS.values()
    if option == COLUMNS:
        return ", ".join(file_format.name for file_format in formats if file_format.is_table)
    return ", ".join(
        file_format.name for file_format in formats if any(known.name == option for known in file_format.options)
    )
