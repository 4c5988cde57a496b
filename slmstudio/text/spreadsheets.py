"""Text as cells of CSV files, without formulas."""

import csv
import re
from collections.abc import Iterable, Iterator
from io import StringIO

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def escape_formula(text: str) -> str:
    """The text with an apostrophe in front if a spreadsheet would run it as a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_formula(text: str) -> str:
    """The inverse of ``escape_formula``."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """A CSV file for spreadsheets, line by line; cells have no formulas."""
    yield "\N{BYTE ORDER MARK}" + _line(columns)
    for row in rows:
        yield _line(escape_formula(str(cell)) for cell in row)


def _line(cells: Iterable[str]) -> str:
    line = StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
