"""What a table becomes, before its import: the role of each column, and the rows that would be rejected. Pure."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats.base import Context
from labeling.imports.formats.column_mapping import Preview, Sample, guess_roles, mapping_error, role_choices
from labeling.imports.formats.registry import COLUMNS, FORMATS, open_file
from labeling.imports.rows import ParsedRow, ReadError, RowError, validate_row

_ROWS: Final = 100
_MAX_REASONS: Final = 3


@dataclass(frozen=True)
class ImportPreview:
    """How many of the first rows are valid, and why others are not: the first row and the reason."""

    rows: int
    valid: int
    reasons: list[tuple[str, str]]


@dataclass(frozen=True)
class TableReview:
    """The first rows of a table and a role for every column. ``options``: those of the import, with the detected ones.

    ``error`` is why it cannot be imported; without one there is a ``preview``.
    """

    table: Preview
    roles: dict[str, str]
    options: dict[str, Any]
    error: str = ""
    preview: ImportPreview | None = None

    @property
    def fingerprint(self) -> str:
        """Tells the table from another one that other options give."""
        content = repr((self.table.names, self.table.rows))
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def review_table(
    path: Path,
    kind: str,
    name: str,
    context: Context,
    sample: Sample | None,
    chosen: Sequence[str] | Mapping[str, str],
) -> TableReview:
    """Reads the first rows as an import would, and writes nothing. ``sample``: the rows of a table that is costly to
    open. ``chosen``: the roles of columns, by their place ("" as guessed) or by their name.

    Raises:
        ReadError: the table cannot be read.
    """
    read = FORMATS[kind].preview
    if sample is not None:
        table = sample.preview
    elif read is not None:
        table = read(path, context.options)
    else:
        raise ReadError("It is not a table.")
    if not isinstance(chosen, Mapping):
        known = {choice.value for choice in role_choices(context.compiled)}
        chosen = {column: role for column, role in zip(table.names, chosen, strict=False) if role in known}
    roles = {**guess_roles(table.names, context.compiled), **chosen}
    complete = {**context.options, **table.detected, COLUMNS: roles}
    if error := mapping_error(roles, table.names, context.compiled):
        return TableReview(table, roles, complete, error)
    try:
        preview = preview_rows(path, kind, name, replace(context, options=complete), sample)
    except ReadError as error:
        return TableReview(table, roles, complete, str(error))
    return TableReview(table, roles, complete, preview=preview)


def preview_rows(path: Path, kind: str, name: str, context: Context, sample: Sample | None) -> ImportPreview:
    """Validates the first rows as an import would.

    Raises:
        ReadError: the file cannot be read.
    """
    valid, count = 0, 0
    reasons: dict[str, str] = {}
    for parsed in islice(_first_rows(path, kind, name, context, sample), _ROWS):
        count += 1
        try:
            validate_row(parsed, context.compiled)
        except RowError as error:
            reasons.setdefault(str(error), f"{parsed.file + ', ' if parsed.file else ''}row {parsed.number}")
        else:
            valid += 1
    return ImportPreview(count, valid, [(where, reason) for reason, where in islice(reasons.items(), _MAX_REASONS)])


def _first_rows(path: Path, kind: str, name: str, context: Context, sample: Sample | None) -> Iterator[ParsedRow]:
    if sample is not None:
        yield from sample.rows(context)
        return
    with open_file(path, kind, name, context) as opened:
        yield from opened.rows
