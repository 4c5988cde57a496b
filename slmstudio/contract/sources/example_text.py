"""Examples in a text: one JSON object, several in a row, a list of them, JSON Lines, or rows of an import file."""

import re
from typing import Any

from slmstudio.contract.json_text import JsonError, loads
from slmstudio.contract.sources.drafts import SourceError

_FENCE = re.compile(r"^[ \t]*+```[A-Za-z0-9]*+[ \t]*+$", re.MULTILINE)
#: columns of an import file that hold a whole label
_GOLD = ("gold", "output", "completion", "expected", "answer", "response", "expected_output")
#: parts of a text that are not JSON, beyond which it is refused
_MAX_ERRORS = 1_000
_OPEN = {"{": "}", "[": "]"}


def without_fences(text: str) -> str:
    """A text without byte order mark and without the lines that start and end Markdown blocks."""
    return _FENCE.sub("", text.removeprefix("\ufeff"))


def read_examples(text: str) -> tuple[list[Any], tuple[str, ...]]:
    """The JSON objects of a text without fences, and notes on what was left out.

    Raises:
        SourceError: there is none; with the line of the first error.
    """
    values: list[Any] = []
    errors: list[tuple[int, str]] = []
    for line, part in [(1, text)] if _is_json(text) else _parts(text):
        try:
            value = loads(part)
        except JsonError as error:
            errors.append((line + error.line - 1, error.message))
            if len(errors) > _MAX_ERRORS:
                break
            continue
        values += value if isinstance(value, list) else [value]
    if not values or len(errors) > _MAX_ERRORS:
        line, message = errors[0] if errors else (0, "The text contains no JSON object.")
        raise SourceError(f"This is not valid JSON: {message}." if errors else message, line)
    notes = [f"Line {line} was skipped: {message}." for line, message in errors[:5]]
    if len(errors) > 5:
        notes.append(f"{len(errors) - 5} more parts of the text were skipped.")
    return _labels(values, notes), tuple(notes)


def _is_json(text: str) -> bool:
    try:
        loads(text)
    except JsonError:
        return False
    return True


def _parts(text: str) -> list[tuple[int, str]]:
    """The JSON values at the top of a text with the lines where they start. A line that starts a value at its margin
    while another one is open ends that one: a broken row costs itself.
    """
    found: list[tuple[int, str]] = []
    start, depth, quoted, line = -1, 0, False, 1
    first_line = 1
    position = 0
    while position < len(text):
        letter = text[position]
        if letter == "\n":
            line += 1
            quoted = False  # a text does not go over lines
            if start >= 0 and text[position + 1 : position + 2] == "{" and text[start] == "{":
                found.append((first_line, text[start : position + 1]))
                start, depth = -1, 0
        elif quoted:
            position += letter == "\\"
            quoted = letter != '"'
        elif letter == '"' and start >= 0:
            quoted = True
        elif letter in _OPEN:
            if start < 0:
                start, first_line = position, line
            depth += 1
        elif letter in _OPEN.values() and start >= 0:
            depth -= 1
            if depth == 0:
                found.append((first_line, text[start : position + 1]))
                start = -1
        elif start < 0 and not letter.isspace() and letter not in ",;":
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            found.append((line, text[position:end]))
            position = end - 1
        position += 1
    if start >= 0:
        found.append((first_line, text[start:]))
    return found


def _labels(values: list[Any], notes: list[str]) -> list[Any]:
    """The labels of rows of an import file; other values as they are."""
    rows = [value for value in values if isinstance(value, dict)]
    name = next((name for name in _GOLD if rows and all(name in row and len(row) > 1 for row in rows)), "")
    if not name:
        return values
    labels = []
    for row in rows:
        value = row[name]
        if isinstance(value, str):
            try:
                value = loads(value)
            except JsonError:
                return values
        if not isinstance(value, dict):
            if value is None:
                continue
            return values
        labels.append(value)
    if not labels:
        return values
    notes.append(f"The rows are documents; their labels in {name} are the examples.")
    return labels
