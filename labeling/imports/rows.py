"""Rows of an import: reading JSONL without ever holding more than one line, and judging a row. Pure."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from labeling.imports.formats.page_text import ReadPage, pages_of
from slmstudio.contract.schema.compiled import CompiledSchema, JsonError, dumps, loads
from slmstudio.storage.hashing import sha256_text

MAX_TEXT = 1_000_000
MAX_LINE = 4_000_000
MAX_ID = 200
MAX_METADATA = 100_000
MAX_TAGS, MAX_TAG = 20, 40
_KNOWN = frozenset({"id", "text", "gold", "tags"})
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One row as it was read: ``number`` is its line, ``data`` what it holds, or ``error`` why it cannot be read.

    ``file`` names the file inside a folder that it comes from. ``pages`` are those of a PDF or an image; ``evidence``
    says where the gold stands in the text (field path -> start and end); ``predictions`` are what models proposed.
    """

    number: int
    data: Any = None
    error: str = ""
    raw: str = ""
    file: str = ""
    pages: tuple[ReadPage, ...] = ()
    evidence: Mapping[str, Any] | None = None
    predictions: "tuple[Proposed, ...]" = ()


@dataclass(frozen=True, slots=True)
class Proposed:
    """A model's proposal that comes with a row: its JSON text, and which model it says it is."""

    raw: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can become a document. ``gold`` is None where it waits to be labelled."""

    number: int
    external_id: str
    text: str
    sha256: str
    gold: Any = None
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    raw: str = ""
    file: str = ""
    pages: tuple[ReadPage, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    predictions: tuple[Proposed, ...] = ()


class RowError(ValueError):
    """Why a row is rejected, as a sentence."""


def parse_jsonl(stream: IO[bytes]) -> Iterator[ParsedRow]:
    """The rows of a JSONL file, one per line that is not blank; a line that is no JSON is a row with an error.

    A line over 4 MB is skipped without being read into memory.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield ParsedRow(1, error="the file is in UTF-16; save it as UTF-8")
            return
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE:
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
            yield ParsedRow(number, error=f"the line is longer than {MAX_LINE // 1_000_000} MB")
        elif not line.isspace():
            yield _parse(number, line)


def _parse(number: int, line: bytes) -> ParsedRow:
    line = line.rstrip(b"\r\n")
    raw = line.decode(errors="replace").replace("\0", "\N{SYMBOL FOR NULL}")
    try:
        return ParsedRow(number, loads(line), raw=raw)
    except JsonError as error:
        return ParsedRow(number, error=f"not JSON: {error.message} (line {number}, column {error.column})", raw=raw)


def judge(parsed: ParsedRow, compiled: CompiledSchema) -> Row:
    """The row as a document, its gold checked against the schema.

    Raises:
        RowError: what is wrong with it.
    """
    if parsed.error:
        raise RowError(parsed.error)
    data = parsed.data
    if not isinstance(data, dict):
        raise RowError('a row is an object: {"id": ..., "text": ..., "gold": {...}}')
    text = _text(data.get("text"))
    sha256 = sha256_text(text)
    gold = data.get("gold")
    if gold is not None:
        _check_gold(gold, compiled)
    extra = {key: value for key, value in data.items() if key not in _KNOWN}
    pages = parsed.pages
    if not pages and "page" in extra:
        pages = pages_of(extra["page"], text)
        if pages:  # kept as pages, so not beside the document once more
            del extra["page"]
    return Row(
        number=parsed.number,
        external_id=_identifier(data.get("id"), sha256),
        text=text,
        sha256=sha256,
        gold=gold,
        tags=_tags(data.get("tags")),
        metadata=_metadata(extra),
        raw=parsed.raw,
        file=parsed.file,
        pages=pages,
        evidence=_evidence(parsed.evidence, len(text)) if parsed.evidence and gold is not None else {},
        predictions=parsed.predictions,
    )


def shown_id(data: Any) -> str:
    """The id of a row that may be anything, to find it again in a report."""
    value = data.get("id") if isinstance(data, dict) else None
    text = str(value) if isinstance(value, str | int) else ""
    return "".join(c for c in text[:MAX_ID] if not unicodedata.category(c).startswith("C"))


def _text(value: Any) -> str:
    if value is None:
        raise RowError('there is no "text"')
    if not isinstance(value, str):
        raise RowError('"text" must be a text in quotes')
    if not value.strip():
        raise RowError('"text" is empty')
    if len(value) > MAX_TEXT or (not value.isascii() and len(value.encode(errors="replace")) > MAX_TEXT):
        raise RowError('"text" is longer than 1 MB')
    _check_characters("text", value)
    return value


def _check_characters(name: str, value: str) -> None:
    if "\0" in value:
        raise RowError(f'"{name}" contains the NUL character')
    if not value.isascii() and _SURROGATE.search(value):
        raise RowError(f'"{name}" contains half of a surrogate pair')


def _check_texts(name: str, value: Any) -> None:
    """As ``_check_characters`` for every text inside a value. A parsed row is clean; that of a caller may not be."""
    if isinstance(value, str):
        _check_characters(name, value)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_characters(name, key)
            _check_texts(name, item)
    elif isinstance(value, list):
        for item in value:
            _check_texts(name, item)


def _identifier(value: Any, sha256: str) -> str:
    """The row's own id; one made from its text where it has none."""
    if value is None or value == "":
        return f"text-{sha256[:16]}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError('"id" must be a text or a whole number')
    text = str(value)
    if len(text) > MAX_ID:
        raise RowError(f'"id" is longer than {MAX_ID} characters')
    if text.isascii() and text.isprintable() and not text.isspace():
        return text
    if not text.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise RowError('"id" contains control characters or nothing but blanks')
    return text


def _check_gold(gold: Any, compiled: CompiledSchema) -> None:
    problems = compiled.validate(gold)
    if problems:
        said = "; ".join(f"{problem.path} {problem.message}".strip() for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise RowError(f"the gold does not fit the schema: {said}{more}")
    _check_texts("gold", gold)


def _evidence(given: Mapping[str, Any], length: int) -> dict[str, Any]:
    """Spans that lie in the text; others are left out, since a person finds them again with one key."""
    kept = {}
    for path, place in given.items():
        start, end = place.get("start"), place.get("end")
        if type(start) is int and type(end) is int and 0 <= start < end <= length:
            kept[path] = {"start": start, "end": end}
    return kept


def _tags(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise RowError('"tags" must be a list of texts')
    tags = list(dict.fromkeys(tag.strip() for tag in value))
    if len(tags) > MAX_TAGS or any(not tag.isprintable() or not 0 < len(tag) <= MAX_TAG for tag in tags):
        raise RowError(f'"tags" may hold at most {MAX_TAGS} texts of 1 to {MAX_TAG} characters')
    return tags


def _metadata(extra: dict[str, Any]) -> dict[str, Any]:
    if not extra:
        return extra
    if len(dumps(extra)) > MAX_METADATA:
        raise RowError(f"what stands beside id, text, gold and tags is longer than {MAX_METADATA // 1_000} KB")
    _check_texts("metadata", extra)
    return extra
