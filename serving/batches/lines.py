"""Lines of a batch: JSON lines in, JSON lines out. A bad line is an error of its own."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from slmstudio.contract.json_text import JsonError, dumps, loads
from slmstudio.errors import Refused

MAX_LINES = 100_000
MAX_BYTES = 200 * 2**20
#: of a JSON array, which is read as a whole
MAX_ARRAY_BYTES = 20 * 2**20
MAX_LINE_BYTES = 4_000_000
MAX_ID = 200
#: failed lines that a page shows, and how much of a result is searched for them
_FAILURES, _FAILURE_BYTES = 3, 2**18
_FIELDS = {"id", "text", "page", "caller"}
_NUMBER = re.compile(rb'\{"line":(\d+)')


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input: a document, or why it is none. ``page``: its boxes, as the gateway takes them."""

    number: int
    id: str
    text: str = ""
    caller: str = ""
    code: str = ""
    error: str = ""
    page: Any = None


def normalize(source: IO[bytes], target: Path) -> int:
    """Writes the input as JSON lines to ``target``; returns the number of documents.

    Raises:
        Refused: it is empty, too large, has too many lines, or is an array that is no valid JSON.
    """
    head = source.read(4_096)
    source.seek(0)
    is_array = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    number = _array(source, target) if is_array else _lines(source, target)
    if not number:
        raise Refused("The file has no documents.", field="file", code="empty")
    return number


def _array(source: IO[bytes], target: Path) -> int:
    body = source.read(MAX_ARRAY_BYTES + 1)
    if len(body) > MAX_ARRAY_BYTES:
        size = MAX_ARRAY_BYTES // 2**20
        raise Refused(f"An array can be at most {size} MB. Send one document per line.", field="file", code="too_large")
    try:
        values = loads(body.decode("utf-8-sig"), max_characters=None)
    except UnicodeDecodeError as error:
        raise Refused("The array is not UTF-8.", field="file", code="invalid_json") from error
    except JsonError as error:
        raise Refused(f"The array is not valid JSON: {error}.", field="file", code="invalid_json") from error
    if len(values) > MAX_LINES:
        raise _too_many()
    with target.open("w", encoding="utf-8") as file:
        for value in values:
            file.write(dumps(value) + "\n")
    return len(values)


def _lines(source: IO[bytes], target: Path) -> int:
    number = size = 0
    with target.open("wb") as file:
        for line in source:
            size += len(line)
            if size > MAX_BYTES:
                limit = MAX_BYTES // 2**20
                raise Refused(f"A file can be at most {limit} MB. Split it.", field="file", code="too_large")
            # Blank lines stay, so that numbers are those of the file.
            file.write(line if line.endswith(b"\n") else line + b"\n")
            number += bool(line.strip())
            if number > MAX_LINES:
                raise _too_many()
    return number


def _too_many() -> Refused:
    return Refused(f"A batch can have at most {MAX_LINES:,} documents. Split it.", field="file", code="too_many")


def read(path: Path) -> Iterator[Line]:
    """The documents of a normalized input, in order."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _line(number, line)


def _line(number: int, line: bytes) -> Line:
    if len(line) > MAX_LINE_BYTES:
        size = MAX_LINE_BYTES // 1_000_000
        return Line(number, "", code="too_large", error=f"The line is larger than {size} MB.")
    try:
        value: Any = loads(line.decode("utf-8-sig" if number == 1 else "utf-8").strip())
    except UnicodeDecodeError:
        return Line(number, "", code="invalid_json", error="The line is not UTF-8.")
    except JsonError as error:
        return Line(number, "", code="invalid_json", error=f"The line is not valid JSON: {error.message}.")
    if not isinstance(value, dict):
        return Line(number, "", code="invalid_json", error="The line is not a JSON object.")
    name = value.get("id")
    known = str(name)[:MAX_ID] if isinstance(name, str | int) and not isinstance(name, bool) else ""
    unknown = sorted(set(value) - _FIELDS)
    if unknown:
        return Line(
            number, known, code="field", error=f"{unknown[0][:80]} is unknown. Known: {', '.join(sorted(_FIELDS))}."
        )
    text, caller = value.get("text"), value.get("caller", "")
    if not isinstance(text, str) or not text.strip():
        return Line(number, known, code="field", error="text must be a non-empty string.")
    if not isinstance(caller, str):
        return Line(number, known, code="field", error="caller must be a string.")
    return Line(number, known, text, caller[:80], page=value.get("page"))


def result_line(line: Line, response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    """A line of the result: the response to a document, or ``error`` with status, code and detail."""
    head = {"line": line.number, "id": line.id}
    return (dumps({**head, **response}) if response is not None else dumps({**head, "error": error})).encode() + b"\n"


def done_lines(path: Path) -> set[int]:
    """Numbers of the lines that have a result; what was written of a last line before a kill is removed."""
    if not path.exists():
        return set()
    with path.open("rb+") as file:
        numbers = {int(match[1]) for line in file if line.endswith(b"\n") and (match := _NUMBER.match(line))}
        file.seek(0, os.SEEK_END)
        end = size = file.tell()
        while end and not _ends_line(file, end):
            end -= 1
        if end != size:
            file.truncate(end)
    return numbers


def first_failures(path: Path) -> list[tuple[int, str]]:
    """Number and reason of the first lines that failed, as far as they are near the start of a result."""
    if not path.exists():
        return []
    failures: list[tuple[int, str]] = []
    with path.open("rb") as file:
        for line in file.readlines(_FAILURE_BYTES):
            if len(failures) < _FAILURES and b'"error":' in line[: MAX_ID + 100]:
                result = orjson.loads(line)
                if "error" in result:
                    failures.append((int(result["line"]), result["error"]["detail"] or result["error"]["code"]))
    return failures


def _ends_line(file: IO[bytes], end: int) -> bool:
    file.seek(end - 1)
    return file.read(1) == b"\n"


def sort(path: Path) -> tuple[int, int]:
    """Puts a result into the order of the input, each line once; returns the numbers of outputs and errors."""
    places: dict[int, tuple[int, int]] = {}
    failed = 0
    with path.open("rb") as file:
        at = 0
        for line in file:
            match = _NUMBER.match(line)
            if match and line.endswith(b"\n") and int(match[1]) not in places:
                places[int(match[1])] = (at, len(line))
                failed += "error" in orjson.loads(line)
            at += len(line)
        draft = path.with_suffix(".sorted")
        with draft.open("wb") as target:
            for _, (start, length) in sorted(places.items()):
                file.seek(start)
                target.write(file.read(length))
    draft.replace(path)
    return len(places) - failed, failed
