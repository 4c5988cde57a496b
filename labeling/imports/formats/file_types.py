"""What kind of file this is: by its first bytes, then by its name. The name alone is never believed."""

import re
from pathlib import Path
from typing import Any, Final

from labeling.imports.formats import KINDS, ReadError
from labeling.imports.formats.json_values import split_values
from labeling.imports.formats.zip_files import opened
from slmstudio.contract.json_text import JsonError, loads

_HEAD: Final = 256 * 1024
_MAGIC: Final = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"PAR1", "dataset"),
    (b"ARROW1", "dataset"),
    (b"\xff\xff\xff\xff", "dataset"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_UNREAD: Final = (
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as PDF or CSV"),
    (b"{\\rtf", "a rich text file; save it as PDF or as plain text"),
    (b"\x1f\x8b", "packed with gzip; unpack it first, or use a zip"),
    (b"7z\xbc\xaf", "packed with 7-Zip; use a zip"),
    (b"Rar!", "packed with RAR; use a zip"),
    (b"GIF8", "a GIF; PNG, JPEG and TIFF are read"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_BY_NAME: Final = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
_OFFICE = re.compile(r"^(word|xl|ppt)/")


def guess(path: Path, name: str) -> str:
    """The kind of a file: a key of ``KINDS``.

    Raises:
        ReadError: it is empty, or of a kind that is not read; the sentence says which.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise ReadError(f"{name} is empty.")
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    if not kind and b"%PDF-" in head[:1024]:
        kind = "pdf"
    if kind == "zip":
        return _in_zip(path, name)
    if kind:
        return kind
    for magic, words in _UNREAD:
        if head.startswith(magic):
            raise ReadError(f"{name} is {words}.")
    return _of_text(head, name)


def _in_zip(path: Path, name: str) -> str:
    with opened(path, name) as archive:
        names = archive.namelist()
    if "[Content_Types].xml" in names and any(_OFFICE.match(inside) for inside in names):
        raise ReadError(f"{name} is an Office file; save it as PDF or CSV.")
    return "dataset" if any(inside.endswith((".arrow", ".parquet")) for inside in names) else "zip"


def _of_text(head: bytes, name: str) -> str:
    by_name = _BY_NAME.get(Path(name).suffix.lower(), "")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16; its reader says so
        return by_name or "text"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not by_name and b"\0" in head[:8192]:
        raise ReadError(f"{name} is of a kind that is not read. There are: {'; '.join(KINDS.values())}.")
    if by_name == "csv":
        return "csv"
    if start.startswith(b"["):
        first = _first(start)
        if by_name in ("json", "jsonl") or isinstance(first, dict):
            return "labelstudio" if _is_task(first, head) else "json"
    elif start.startswith(b"{"):
        first = _parsed(start.split(b"\n", 1)[0])
        if by_name in ("", "text") and not (isinstance(first, dict) and {"text", "data"} & first.keys()):
            return by_name or ("jsonl" if isinstance(first, dict) else "text")
        if first is None and by_name == "json":
            return "labelstudio" if _is_task(_first(start), head) else "json"
        return "labelstudio" if _is_task(first, b"") else "jsonl"
    return by_name or "text"


def _parsed(line: bytes) -> Any:
    try:
        return loads(line)
    except JsonError:
        return None


def _first(start: bytes) -> Any:
    """The first value of a list, where it lies within the head."""
    for value in split_values(iter([start])):
        return _parsed(value.text) if value.complete else None
    return None


def _is_task(value: Any, head: bytes) -> bool:
    """Whether this is a task of Label Studio; told by its names where it is too long to be seen whole."""
    if isinstance(value, dict):
        return isinstance(value.get("data"), dict) and bool(
            {"annotations", "predictions", "completions"} & value.keys()
        )
    return value is None and b'"data"' in head and b'"annotations"' in head and b'"from_name"' in head
