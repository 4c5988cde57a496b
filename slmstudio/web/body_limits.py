"""Limits on request bodies and file uploads, enforced before a byte of the body is parsed or stored.

Without a sign-in a request has at most ``FREE_BODY`` bytes and no files. With one, a page accepts
``DATA_UPLOAD_MAX_MEMORY_SIZE``; only views with ``takes_files`` accept files, after their own permission check.

The web server asks for admission before it reads a large body: a request with ``ADMISSION`` in its environ is answered
with 204 and the admitted size, or with the error response.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.conf import settings
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from slmstudio.hooks import token_checked
from slmstudio.server.admission import ADMITTED, FREE_BODY, KEY
from slmstudio.storage.artifacts import has_room, is_disk_full
from slmstudio.web.views import content_too_large, insufficient_storage, sign_in_first

View = TypeVar("View", bound=Callable[..., Any])
#: overhead of multipart/form-data around its files: names, paths, boundaries of a folder of files
AROUND_FILES = 2**20


@dataclass(frozen=True)
class Files:
    """The upload limits of a view: bytes of the whole body, dotted names of upload handlers, and who may upload.

    ``check`` is called with the request and the arguments of the URL before the body is read. It raises Http404 or
    PermissionDenied, or returns an error response.
    """

    limit: int
    handlers: Sequence[str]
    check: Callable[..., object] | None = None


def takes_files(limit: int, *handlers: str, check: Callable[..., object] | None = None) -> Callable[[View], View]:
    """A decorator for views that accept files."""

    def mark(view: View) -> View:
        view.files = Files(limit, handlers, check)  # type: ignore[attr-defined]
        return view

    return mark


class NoFiles(FileUploadHandler):
    """The upload handler of all other requests, which skips their files."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Skips the file."""
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called."""

    def file_complete(self, file_size: int) -> None:
        """Never called."""


class BodyLimits:
    """Middleware; runs before the CSRF check, which parses forms."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Passes every request through; the decision needs the view."""
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: dict[str, Any]
    ) -> HttpResponseBase | None:
        """Rejects a body that is too large, and sets the view's upload handlers."""
        files: Files | None = getattr(view, "files", None)
        takes_files = files is not None and request.method == "POST"
        limit = files.limit if files is not None and takes_files else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        length = _content_length(request)
        asked = KEY in getattr(request, "environ", {})
        large = asked or length > FREE_BODY
        if not large and not takes_files:
            return None
        if not _is_signed_in(request):
            return sign_in_first(request, _size_words(FREE_BODY)) if large else None
        if length > limit:
            return content_too_large(request, _size_words(limit), files=takes_files)
        if files is not None and takes_files:
            refusal = files.check(request, **kwargs) if files.check is not None else None
            if isinstance(refusal, HttpResponseBase):
                return refusal
            if not has_room(length, temporary=2 if asked else 1):
                return insufficient_storage(request)
            request.upload_handlers = [import_string(handler)(request) for handler in files.handlers]
            if not asked and not request.path.startswith("/api/"):
                return _parse(request)
        return HttpResponse(status=204, headers={ADMITTED: str(limit)}) if asked else None


def _parse(request: HttpRequest) -> HttpResponse | None:
    """Parses the form, which stores its files; 507 on a full disk. The REST interface has a handler of its own."""
    try:
        request.POST  # noqa: B018 - the access parses it
    except UnreadablePostError:
        return None  # the client has gone
    except OSError as error:
        if not is_disk_full(error):
            raise
        return insufficient_storage(request)
    return None


def _size_words(limit: int) -> str:
    """A limit in its natural unit, without the overhead around files."""
    return f"{limit // 2**30} GB" if limit >= 2**30 else f"{limit // 2**20} MB"


def _content_length(request: HttpRequest) -> int:
    try:
        return max(0, int(request.META.get("CONTENT_LENGTH") or 0))
    except ValueError:
        return 0


def _is_signed_in(request: HttpRequest) -> bool:
    return bool(request.user.is_authenticated) or any(token_checked.call(request.headers.get("Authorization", "")))
