"""Documents that callers send as files: PDF, images and text, read as an import reads them, in a child process."""

import asyncio
import hashlib
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from labeling.imports.formats import plain_text, scans
from labeling.imports.formats.base import Context, Format, ReadError
from labeling.imports.formats.page_layout import LAYOUT
from labeling.imports.formats.registry import FORMATS, detect, open_file
from labeling.imports.rows import ParsedRow
from serving.gateway.intake.bodies import BODY_SECONDS, too_large
from serving.gateway.problems import GatewayProblem, queue_full
from slmstudio.contract.schema.compiled import CompiledSchema

#: files that wait for a reader; more are rejected
MAX_WAITING = 8
#: code of a file that cannot be read -> status of the response; others are 422
_STATUSES = {"too_many_pages": 413, "too_many_pixels": 413, "memory": 413}
Options = Mapping[str, Any]
_OCR = tuple(str(choice) for choice in scans.OCR.choices)


@dataclass(frozen=True, slots=True)
class FileText:
    """What was read. ``pages``: [start, end] of each page in the text; none of a text file."""

    format: str
    text: str
    pages: list[list[int]]
    milliseconds: float


@dataclass
class _Job:
    """A file that is being read; ``stop`` ends its reader within half a second."""

    stop: threading.Event = field(default_factory=threading.Event)
    until: float = 0.0

    def is_over(self) -> bool:
        return self.stop.is_set() or time.monotonic() > self.until


class FileReader:
    """Reads files in ``readers`` child processes, each file within ``seconds``."""

    def __init__(self, *, readers: int, seconds: float) -> None:
        self._readers, self._seconds = readers, seconds
        self._threads = ThreadPoolExecutor(readers, thread_name_prefix="files")
        self._scanners: list[scans.Scanner] = []
        self._lock = threading.Lock()
        self._open = 0

    async def read(
        self, path: Path, name: str, *, schema: CompiledSchema, ocr: str = "auto", layout: bool = False
    ) -> FileText:
        """The text of a file; ``layout``: with that of its pages.

        Raises:
            GatewayProblem: 413, 415 or 422 where it cannot be read, with the reason; 429 where too many files wait.
        """
        if ocr not in _OCR:
            raise GatewayProblem(422, "field", f"ocr must be one of {', '.join(_OCR)}.", field="ocr")
        if self._open >= self._readers + MAX_WAITING:
            raise queue_full("Too many files are waiting to be read.", seconds=5)
        job = _Job()
        self._open += 1
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        options = {scans.OCR.name: ocr, LAYOUT.name: layout, "split": "whole"}
        reading = loop.run_in_executor(self._threads, self._read, path, name, schema, options, job)
        reading.add_done_callback(lambda _: self._finished())
        try:
            read = await asyncio.shield(reading)
        except asyncio.CancelledError:  # the caller hung up
            job.stop.set()
            raise
        return replace(read, milliseconds=round((time.perf_counter() - began) * 1000, 2))

    def _finished(self) -> None:
        self._open -= 1

    def _read(self, path: Path, name: str, schema: CompiledSchema, options: Options, job: _Job) -> FileText:
        if job.stop.is_set():
            raise GatewayProblem(499, "client_closed", "The client disconnected.")
        job.until = time.monotonic() + self._seconds
        try:
            file_format = _format_of(path, name)
            row = self._row(path, name, file_format, schema, options, job)
        except ReadError as error:
            raise _type_problem(str(error)) from error
        if row.error:
            code = "too_slow" if row.code == "cancelled" else row.code or "damaged"
            detail = f"{name} took longer than {self._seconds:g} s." if code == "too_slow" else f"{name}: {row.error}."
            raise GatewayProblem(_STATUSES.get(code, 422), code, detail, field="file")
        text = row.data["text"]
        if not text.strip():
            raise GatewayProblem(422, "no_text", f"{name} has no text.", field="file")
        if "\0" in text:
            raise GatewayProblem(422, "damaged", f"{name} contains a NUL character.", field="file")
        return FileText(file_format.name, text, [[page.start, page.end] for page in row.pages], 0.0)

    def _row(
        self, path: Path, name: str, file_format: Format, schema: CompiledSchema, options: Options, job: _Job
    ) -> ParsedRow:
        folder = Path(tempfile.mkdtemp(prefix="slm-file-"))
        try:
            context = Context(schema, folder, options, job.is_over)
            if file_format.name == plain_text.FORMAT.name:
                with open_file(path, file_format.name, name, context) as opened:
                    return next(opened.rows)
            scanner = self._scanner(context)
            try:
                return scanner.row(1, path, file_format, name)
            finally:
                with self._lock:
                    self._scanners.append(scanner)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _scanner(self, context: Context) -> scans.Scanner:
        """A child that is free, or a new one."""
        with self._lock:
            free = self._scanners.pop() if self._scanners else None
        if free is None:
            return scans.Scanner(context, self._seconds, images=False)
        free.context = context
        return free

    def close(self) -> None:
        """Ends the children."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for scanner in self._scanners:
                scanner.close()
            self._scanners.clear()


def _format_of(path: Path, name: str) -> Format:
    """PDF, image or text. Raises GatewayProblem 415 or ReadError for other files."""
    if not path.stat().st_size:
        raise GatewayProblem(422, "no_text", f"{name} is empty.", field="file")
    detected = detect(path, name)
    if detected.name in (scans.PDF.name, scans.IMAGE.name):
        return detected
    suffix = Path(name).suffix.lower()
    declared = next(
        (known for known in FORMATS.values() if suffix in (*known.extensions, *known.usual_extensions)),
        plain_text.FORMAT,
    )
    if declared.is_binary and not detected.is_binary:
        raise _type_problem(f"{name} is named {suffix} but is not a {suffix[1:].upper()} file.")
    if detected.is_binary or zipfile.is_zipfile(path) or declared.name != plain_text.FORMAT.name:
        raise _type_problem(f"{name} is not a PDF, an image or text: {detected.title}.")
    return plain_text.FORMAT


def _type_problem(sentence: str) -> GatewayProblem:
    return GatewayProblem(
        415, "file_type", f"{sentence} Send a PDF, a PNG, JPEG or TIFF image, or a text file.", field="file"
    )


def document_of(read: FileText) -> dict[str, Any]:
    """The member ``document`` of a response: evidence is offsets in its text."""
    document: dict[str, Any] = {"format": read.format, "text": read.text}
    if read.pages:
        document["pages"] = read.pages
    return document


KIND = "multipart/form-data"
_FIELD = "file"
#: names, types and boundaries around the file, and other fields
_AROUND = 64 * 1024
_MAX_FIELDS = 10


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it was sent. ``name`` has no folder."""

    path: Path
    name: str
    sha256: str
    fields: dict[str, str]


async def read_upload(request: Request, folder: Path) -> Upload:
    """The file of a request, stored in ``folder``.

    Raises:
        GatewayProblem: 408, 413, 400 or 422, by what is wrong with the body.
        ClientDisconnect: the caller hung up.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parser = MultiPartParser(
                request.headers, _limited(request), max_files=1, max_fields=_MAX_FIELDS, max_part_size=_AROUND
            )
            form = await parser.parse()
    except TimeoutError:
        raise GatewayProblem(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:g} s.") from None
    except (MultiPartException, KeyError, ValueError) as error:
        raise GatewayProblem(400, "invalid_form", f"The body is not valid {KIND}: {error}.") from error
    try:
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1 or files[0][0] != _FIELD:
            raise GatewayProblem(422, "field", f"Send one file in the field {_FIELD}.", field=_FIELD)
        upload = files[0][1]
        name = Path((upload.filename or "").replace("\\", "/")).name[:200] or "file"
        path = folder / "document"
        sha256 = await asyncio.to_thread(_store, upload, path)
    finally:
        await form.close()
    return Upload(path, name, sha256, {key: value for key, value in form.multi_items() if isinstance(value, str)})


def _store(upload: UploadFile, path: Path) -> str:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    """The body. Raises GatewayProblem 413 where it is larger than a file may be."""
    limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) + _AROUND
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large()
    received = 0
    async for piece in request.stream():
        received += len(piece)
        if received > limit:
            raise too_large()
        yield piece
