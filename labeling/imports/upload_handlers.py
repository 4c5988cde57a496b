"""Stores all files of an upload in one temporary file, so a folder needs neither memory nor file handles."""

import io
import tempfile
from typing import IO, Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from labeling.imports.uploads import MAX_UPLOAD


class _FilePart(io.RawIOBase):
    """A file that is a part of another one."""

    def __init__(self, whole: IO[bytes], start: int, size: int) -> None:
        self.whole: IO[bytes] | None = whole
        self.start, self.size, self.position = start, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        base = {0: 0, 1: self.position, 2: self.size}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        """As of any file."""
        return self.position

    def readinto(self, buffer: Any) -> int:
        """As of any raw file."""
        assert self.whole is not None
        size = max(0, min(len(buffer), self.size - self.position))
        self.whole.seek(self.start + self.position)
        data = self.whole.read(size)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        """Releases the whole file, which is deleted with the last of its parts."""
        self.whole = None
        super().close()


class OneFileUploadHandler(FileUploadHandler):
    """All files of a request in one temporary file. Bytes over ``MAX_UPLOAD`` are counted, not stored."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.whole: IO[bytes] | None = None
        self.stored = 0
        self.start = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Starts the next file at the end of the last one."""
        super().new_file(*args, **kwargs)
        if self.whole is None:
            self.whole = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the files in it
        self.start = self.stored

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Appends the data."""
        assert self.whole is not None
        if self.stored + len(raw_data) <= MAX_UPLOAD:
            self.whole.seek(self.stored)
            self.whole.write(raw_data)
            self.stored += len(raw_data)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        """The file, with its uploaded size, which is larger than the stored one if it is too large."""
        assert self.whole is not None
        part = io.BufferedReader(_FilePart(self.whole, self.start, self.stored - self.start))
        return UploadedFile(part, self.file_name, self.content_type, file_size, self.charset)

    def upload_complete(self) -> None:
        """Releases the whole file (the request and its handlers reference each other): only its parts hold it."""
        self.whole = None

    def upload_interrupted(self) -> None:
        """Releases the whole file."""
        self.whole = None
