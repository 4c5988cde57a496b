"""A virus scan of uploads by the daemon of ClamAV, where ``CLAMD`` has its address."""

import socket
import struct
from typing import IO, Final

from django.conf import settings

from slmstudio.errors import Refused

_CHUNK: Final = 2**20
_SECONDS: Final = 120.0


def require_clean(file: IO[bytes], name: str) -> None:
    """Scans a file from its start; nothing without the setting.

    Raises:
        Refused: the scanner found something, cannot scan the file, or does not respond.
    """
    if not settings.CLAMD:
        return
    try:
        result = _scan(file)
    except OSError as error:
        message = "The virus scanner does not respond, or the file is larger than it accepts. Nothing was stored."
        raise Refused(message, field="file", code="scanner") from error
    finally:
        file.seek(0)
    if result.endswith(" FOUND"):
        found = result.removeprefix("stream: ").removesuffix(" FOUND")
        raise Refused(f"The virus scanner rejects {name}: {found}. Nothing was stored.", field="file", code="virus")
    if result != "stream: OK":
        raise Refused(f"The virus scanner cannot scan {name}: {result[:200]}", field="file", code="scanner")


def _scan(file: IO[bytes]) -> str:
    """The response of the daemon to its command INSTREAM: pieces with their length, then a length of 0."""
    with _connection() as daemon:
        daemon.sendall(b"zINSTREAM\0")
        file.seek(0)
        while piece := file.read(_CHUNK):
            daemon.sendall(struct.pack("!L", len(piece)) + piece)
        daemon.sendall(struct.pack("!L", 0))
        with daemon.makefile("rb") as response:
            return response.read(4096).decode(errors="replace").rstrip("\0\n")


def _connection() -> socket.socket:
    kind, _, rest = settings.CLAMD.partition(":")
    if kind != "unix":
        return socket.create_connection((kind, int(rest)), timeout=_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_SECONDS)
    connection.connect(rest)
    return connection
