"""Takes many uploaded files into one temporary file, so that a folder costs neither memory nor file handles."""

import io
import tempfile
from typing import IO, Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest

from labeling.imports.uploads import MAX_UPLOAD


class _Stretch(io.RawIOBase):
    """A file that is a stretch of another one."""

    def __init__(self, whole: IO[bytes], start: int, size: int) -> None:
        self.whole: IO[bytes] | None = whole
        self.start, self.size, self.position = start, size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
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
        most = max(0, min(len(buffer), self.size - self.position))
        self.whole.seek(self.start + self.position)
        data = self.whole.read(most)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        """Lets go of the whole, which is deleted with the last of its stretches."""
        self.whole = None
        super().close()


class OneFileUploadHandler(FileUploadHandler):
    """All files of a request in one temporary file. What goes beyond ``MAX_UPLOAD`` is counted, not kept."""

    def __init__(self, request: HttpRequest | None = None) -> None:
        super().__init__(request)
        self.whole: IO[bytes] | None = None
        self.kept = 0
        self.start = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """The next file begins where the last one ended."""
        super().new_file(*args, **kwargs)
        if self.whole is None:
            self.whole = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the files in it
        self.start = self.kept

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Writes it behind what is there."""
        assert self.whole is not None
        if self.kept + len(raw_data) <= MAX_UPLOAD:
            self.whole.seek(self.kept)
            self.whole.write(raw_data)
            self.kept += len(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile:
        """The file, with the size that it came with: more than what is kept of one that is too large."""
        assert self.whole is not None
        stretch = io.BufferedReader(_Stretch(self.whole, self.start, self.kept - self.start))
        return UploadedFile(stretch, self.file_name, self.content_type, file_size, self.charset)

    def upload_complete(self) -> None:
        """The request and its handlers hold each other: only the files hold what they are stretches of."""
        self.whole = None

    def upload_interrupted(self) -> None:
        """The same."""
        self.whole = None
