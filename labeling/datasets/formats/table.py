"""CSV of fields: one row per document, one column per field; repeated values (line items) are JSON in one cell.

The last column is the whole label as JSON. Imports read it, so null, empty texts and all digits are preserved.

A cell that a spreadsheet would run as a formula (it starts with = + - @ or their wide forms, a tab or a line break,
also after apostrophes) gets an apostrophe in front; readers remove one. Numbers of the schema are unchanged.
"""

import csv
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from labeling.datasets.formats.base import CHUNK_LINES, ExportContext, ExportRow, Format
from slmstudio.contract.schema.compiled import CompiledSchema, Node, dumps, split
from slmstudio.text.spreadsheets import escape_formula

COLUMNS = ("id", "text", "tags", "split", "origin")
WHOLE = "gold"
# Spreadsheets in Chinese or Japanese run the wide forms.


class _Buffer:
    """The output of a csv writer, taken in parts."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)

    def empty(self) -> bytes:
        data = "".join(self.parts).encode()
        self.parts.clear()
        return data


def fields(examples: Iterable[ExportRow], about: ExportContext) -> Iterator[bytes]:
    """The table with its header, in UTF-8 with a byte order mark, which spreadsheets need to detect UTF-8."""
    columns = list(columns_of(about.compiled))
    held = _Buffer()
    writer = csv.writer(held)
    held.write("\N{BYTE ORDER MARK}")
    writer.writerow([escape_formula(name) for name in (*COLUMNS, *(name for name, _ in columns), WHOLE)])
    for number, row in enumerate(examples, start=1):
        own = (row.id, row.text, ",".join(row.tags), row.split, row.origin)
        leaves = (cell(_at(row.gold, steps)) for _, steps in columns)
        writer.writerow(
            [*map(escape_formula, own), *leaves, "" if row.gold is None else escape_formula(dumps(row.gold))]
        )
        if number % CHUNK_LINES == 0:
            yield held.empty()
    yield held.empty()


def columns_of(compiled: CompiledSchema) -> Iterator[tuple[str, list[str]]]:
    """Name and path of every column of the gold; fields with the name of another column get the prefix "gold."."""
    for pattern in _patterns(compiled.root):
        yield (f"gold.{pattern}" if pattern in (*COLUMNS, WHOLE) else pattern), [str(step) for step in split(pattern)]


def _patterns(node: Node) -> Iterator[str]:
    for child in node.children.values():
        if child.children:
            yield from _patterns(child)
        else:
            yield child.pattern


def _at(value: Any, steps: list[str]) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def cell(value: Any) -> str:
    """A value as a cell: texts unchanged, numbers as digits, objects and arrays as JSON; "" for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return escape_formula(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return dumps(value)
    return escape_formula(dumps(value))


FORMAT = Format(
    name="csv",
    title="CSV of fields",
    description="one column per field; cells that a spreadsheet would run as formulas start with an apostrophe",
    extension="csv",
    content_type="text/csv; charset=utf-8",
    write=fields,
)
