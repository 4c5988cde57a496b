"""Rows of an import, and their validation against the schema. Pure."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labeling.imports.formats.page_text import ReadPage, pages_of
from slmstudio.contract.schema.compiled import CompiledSchema, dumps
from slmstudio.contract.schema.wrapped_values import wrap
from slmstudio.storage.hashing import sha256_text

MAX_TEXT = 1_000_000
MAX_LINE = 4_000_000
MAX_ID = 200
MAX_METADATA = 100_000
MAX_TAGS, MAX_TAG = 20, 40
_KNOWN = frozenset({"id", "text", "gold", "tags"})
#: how the reason of a row begins whose gold violates the schema
MISFIT = "the gold does not match the schema"
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """A row as it was read: ``number`` is its line, ``data`` its content, or ``error`` why it cannot be read.

    ``code`` names the error of a PDF or image (``scan_child.CODES``), ``file`` is its file in a folder, ``pages`` are
    those of a PDF or image, ``evidence`` maps field paths to spans in the text.
    """

    number: int
    data: Any = None
    error: str = ""
    raw: str = ""
    file: str = ""
    pages: tuple[ReadPage, ...] = ()
    evidence: Mapping[str, Any] | None = None
    predictions: "tuple[RowPrediction, ...]" = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class RowPrediction:
    """A prediction in a row: its JSON text and the name of the model."""

    raw: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A valid row. ``gold`` is None if it is not labeled."""

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
    predictions: tuple[RowPrediction, ...] = ()


class ReadError(ValueError):
    """Why a whole file cannot be read, as a sentence."""


class RowError(ValueError):
    """Why a row is rejected, as a sentence."""


def validate_row(parsed: ParsedRow, compiled: CompiledSchema) -> Row:
    """The row as a document, with its gold validated against the schema.

    Raises:
        RowError: it is invalid.
    """
    if parsed.error:
        raise RowError(parsed.error)
    data = parsed.data
    if not isinstance(data, dict):
        raise RowError('a row must be an object: {"id": ..., "text": ..., "gold": {...}}')
    text = _text(data.get("text"))
    sha256 = sha256_text(text)
    gold = data.get("gold")
    if gold is not None:
        gold = wrap(compiled.schema, gold)
        _check_gold(gold, compiled)
    extra = {key: value for key, value in data.items() if key not in _KNOWN}
    pages = parsed.pages
    if not pages and "page" in extra:
        pages = pages_of(extra["page"], text)
        if pages:  # stored as pages, so not as metadata
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


def display_id(data: Any) -> str:
    """The id of a row that can be invalid, for the report."""
    value = data.get("id") if isinstance(data, dict) else None
    text = str(value) if isinstance(value, str | int) else ""
    return "".join(c for c in text[:MAX_ID] if not unicodedata.category(c).startswith("C"))


def _text(value: Any) -> str:
    if value is None:
        raise RowError('"text" is missing')
    if not isinstance(value, str):
        raise RowError('"text" must be a string')
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
        raise RowError(f'"{name}" contains a lone surrogate')


def _check_texts(name: str, value: Any) -> None:
    """``_check_characters`` for every text in a value."""
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
    """The id of the row; one made from its text if it has none."""
    if value is None or value == "":
        return f"text-{sha256[:16]}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError('"id" must be a string or an integer')
    text = str(value)
    if len(text) > MAX_ID:
        raise RowError(f'"id" is longer than {MAX_ID} characters')
    if text.isascii() and text.isprintable() and not text.isspace():
        return text
    if not text.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise RowError('"id" is blank or contains control characters')
    return text


def _check_gold(gold: Any, compiled: CompiledSchema) -> None:
    problems = compiled.validate(gold)
    if problems:
        listed = "; ".join(f"{problem.path} {problem.message}".strip() for problem in problems[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise RowError(f"{MISFIT}: {listed}{more}")
    _check_texts("gold", gold)


def _evidence(spans: Mapping[str, Any], length: int) -> dict[str, Any]:
    """The spans that are inside the text."""
    kept = {}
    for path, place in spans.items():
        start, end = place.get("start"), place.get("end")
        if type(start) is int and type(end) is int and 0 <= start < end <= length:
            kept[path] = {"start": start, "end": end}
    return kept


def _tags(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise RowError('"tags" must be a list of strings')
    tags = list(dict.fromkeys(tag.strip() for tag in value))
    if len(tags) > MAX_TAGS or any(not tag.isprintable() or not 0 < len(tag) <= MAX_TAG for tag in tags):
        raise RowError(f'"tags" can have at most {MAX_TAGS} strings of 1 to {MAX_TAG} characters')
    return tags


def _metadata(extra: dict[str, Any]) -> dict[str, Any]:
    if not extra:
        return extra
    if len(dumps(extra)) > MAX_METADATA:
        raise RowError(f"the metadata (all other keys) is longer than {MAX_METADATA // 1_000} KB")
    _check_texts("metadata", extra)
    return extra
