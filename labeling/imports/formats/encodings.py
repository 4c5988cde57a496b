"""The encoding of a text file, and the file as UTF-8, which is what the parsers read.

Spreadsheets on Windows mostly write Windows-1252, without a mark.
"""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from typing import IO, Any, Final, cast

from labeling.imports.formats.base import PASTED, Source
from labeling.imports.rows import ParsedRow

#: encodings and their labels
NAMES: Final = {
    "utf-8": "UTF-8",
    "cp1252": "Windows-1252 (Western Europe)",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
_CHUNK: Final = 1 << 20
#: detection reads no more, so the preview of a table of gigabytes is fast
_MAX_BYTES: Final = 256 << 20
_HEAD: Final = 4_096
#: replaces bytes that cannot be decoded, so their line is rejected; never part of UTF-8
UNREADABLE: Final = b"\xff"
_WIDE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH = re.compile(rb"[\x80-\xff]")
_UNDEFINED: Final = bytes.fromhex("81 8d 8f 90 9d")


def detect(stream: IO[bytes]) -> str:
    """The encoding of a text, a key of ``NAMES``. Rewinds the stream.

    UTF-16 by its mark or by the zero bytes of Latin letters, UTF-8 if the bytes are valid, else Windows-1252. A file
    that is UTF-8 but for a few bytes is UTF-8 with broken lines: as Windows-1252 its other lines would be garbled.
    """
    stream.seek(0)
    head = stream.read(_HEAD)
    stream.seek(0)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    wide = _unmarked_utf16(head)
    if wide:
        return wide
    encoding = "utf-8" if _is_utf8(stream) else _plausible_encoding(stream)
    stream.seek(0)
    return encoding


def _unmarked_utf16(head: bytes) -> str:
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half >= 4 and odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if half >= 4 and even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    return ""


def _is_utf8(stream: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    size = 0
    try:
        while size < _MAX_BYTES and (chunk := stream.read(_CHUNK)):
            decoder.decode(chunk)
            size += len(chunk)
        decoder.decode(b"", final=size < _MAX_BYTES)
    except UnicodeDecodeError:
        return False
    return True


def _plausible_encoding(stream: IO[bytes]) -> str:
    """Of a text that is not valid UTF-8: the encoding that explains more of its bytes beyond ASCII."""
    stream.seek(0)
    valid = stray = undefined = size = 0
    while size < _MAX_BYTES and (chunk := stream.read(_CHUNK)):
        size += len(chunk)
        wide = _WIDE.findall(chunk)
        valid += len(wide)
        stray += len(_HIGH.findall(chunk)) - sum(map(len, wide))
        undefined += len(chunk) - len(chunk.translate(None, _UNDEFINED))
    return "utf-8" if valid >= stray or undefined > stray / 2 else "cp1252"


def invalid(what: str, encoding: str, error: UnicodeDecodeError) -> str:
    """Why a line or a text cannot be read. ``error``: of decoding the output of ``to_utf8``."""
    if encoding == "utf-8":
        where = f"byte {error.start + 1:,} cannot be read; choose another encoding, or save the file as UTF-8"
    elif encoding == "cp1252":
        where = "a byte does not stand for a character; choose another encoding, or save the file as UTF-8"
    else:
        where = "it contains an incomplete character"
    return f"the {what} is not valid {NAMES[encoding]}: {where}"


class _Recoded(io.RawIOBase):
    """Bytes in another encoding as bytes in UTF-8, so that lines can be read with a limit.

    Bytes that cannot be decoded make their line unreadable; they are not dropped.
    """

    def __init__(self, stream: IO[bytes], encoding: str) -> None:
        self.stream = stream
        errors = "unreadable" if encoding == "cp1252" else "surrogatepass"
        self.decoder = codecs.getincrementaldecoder(encoding)(errors)
        self.ready = b""
        self.ended = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any raw stream."""
        while not self.ready:
            piece = self.stream.read(1 << 16)
            if not piece:
                self.ready = b"" if self.ended else self._rest()
                break
            self.ready = _bytes(self.decoder.decode(piece))
        count = min(len(buffer), len(self.ready))
        buffer[:count] = self.ready[:count]
        self.ready = self.ready[count:]
        return count

    def _rest(self) -> bytes:
        self.ended = True
        try:
            return _bytes(self.decoder.decode(b"", final=True))
        except UnicodeDecodeError:
            return UNREADABLE


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _lone_surrogate(error: UnicodeError) -> tuple[str, int]:
    """Replaces bytes that Windows-1252 lacks by half of a surrogate pair, which is never valid UTF-8."""
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff" * (error.end - error.start), error.end


codecs.register_error("unreadable", _lone_surrogate)


def to_utf8(stream: IO[bytes], encoding: str) -> IO[bytes]:
    """The bytes of a stream in UTF-8, without a byte order mark; the stream itself if it is in UTF-8."""
    if encoding == "utf-8":
        head = stream.read(3)
        if head != codecs.BOM_UTF8:
            stream.seek(-len(head), 1)
        return stream
    return cast(IO[bytes], io.BufferedReader(_Recoded(stream, encoding), 1 << 16))


def read_text(
    source: Source, parse: Callable[[IO[bytes], str], Iterator[ParsedRow]], encoding: str = ""
) -> Iterator[ParsedRow]:
    """The rows of a text file. ``parse`` gets the file and its encoding (detected if it is not given)."""
    progress = source.session.progress
    size = max(1, source.path.stat().st_size)
    with source.path.open("rb", buffering=1 << 20) as file:
        encoding = "utf-8" if source.name == PASTED else encoding or detect(file)
        progress.encodings[NAMES[encoding]] = None
        for number, row in enumerate(parse(file, encoding)):
            if not source.is_nested and not number % 64:
                progress.share = min(1.0, file.tell() / size)
            yield row
