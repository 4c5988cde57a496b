"""Detecting the format of a file: by its first bytes, then by its name. The name alone is never trusted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from labeling.imports.formats.base import HEAD_BYTES, FileHead, Format, ReadError

_UNSUPPORTED: Final = (
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as PDF or CSV"),
    (b"{\\rtf", "a rich text file; save it as PDF or as plain text"),
    (b"\x1f\x8b", "compressed with gzip; decompress it first, or use a zip"),
    (b"7z\xbc\xaf", "compressed with 7-Zip; use a zip"),
    (b"Rar!", "compressed with RAR; use a zip"),
    (b"GIF8", "a GIF; use PNG, JPEG or TIFF"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def detect(path: Path, name: str, formats: Mapping[str, Format]) -> Format:
    """The format of a file. Later formats are tried first: they are the more specific ones.

    Raises:
        ReadError: it is empty, or of a format that is not supported.
    """
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES)
    if not data:
        raise ReadError(f"{name} is empty.")
    extensions = {extension: file_format for file_format in formats.values() for extension in file_format.extensions}
    declared = extensions.get(Path(name).suffix.lower())
    head = FileHead(path, name, data, declared.name if declared else "")
    candidates = list(formats.values())[::-1]
    if binary := next(
        (
            file_format
            for file_format in candidates
            if (file_format.is_binary or head.is_zip) and file_format.detect(head)
        ),
        None,
    ):
        return binary
    for signature, description in _UNSUPPORTED:
        if data.startswith(signature):
            raise ReadError(f"{name} is {description}.")
    fallback = declared or formats["text"]
    if data.startswith(_UTF16):
        return fallback
    if declared is None and b"\0" in data[:8192]:
        supported = "; ".join(file_format.title for file_format in formats.values())
        raise ReadError(f"The format of {name} is not supported. Supported are: {supported}.")
    if declared is not None and declared.trusts_extension:
        return declared
    return next(
        (file_format for file_format in candidates if not file_format.is_binary and file_format.detect(head)), fallback
    )
