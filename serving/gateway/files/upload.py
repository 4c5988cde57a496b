"""Reads multipart/form-data: one file, on the disk, and short fields."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.gateway.intake.bodies import BODY_SECONDS, too_large
from serving.gateway.problems import Problem

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
        Problem: 408, 413, 400 or 422, by what is wrong with the body.
        ClientDisconnect: the caller hung up.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parser = MultiPartParser(
                request.headers, _limited(request), max_files=1, max_fields=_MAX_FIELDS, max_part_size=_AROUND
            )
            form = await parser.parse()
    except TimeoutError:
        raise Problem(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:g} s.") from None
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, "invalid_form", f"The body is not valid {KIND}: {error}.") from error
    try:
        files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1 or files[0][0] != _FIELD:
            raise Problem(422, "field", f"Send one file in the field {_FIELD}.", field=_FIELD)
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
    """The body. Raises Problem 413 where it is larger than a file may be."""
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
