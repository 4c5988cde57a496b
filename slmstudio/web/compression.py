"""Compressed responses: static files once in each process, pages as they are rendered.

``collectstatic`` writes compressed copies, which whitenoise serves. If nothing is collected, as in ``make demo``, they
are created at the first request for a file and kept in memory. Downloads and streams are not compressed. Comments and
types of this project's scripts are for readers of the source and are removed from responses.
"""

import gzip
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import brotli
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware, re_accepts_gzip
from django.utils.cache import patch_vary_headers
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.storage import CompressedStaticFilesStorage

#: bytes; a smaller response fits into a packet or two anyway
MIN_SIZE = 1_000
_ACCEPTS_BROTLI = re.compile(r"\bbr\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_SCRIPTS = Path(settings.ASSETS) / "static/js"
#: comments that begin a line; a comment behind code, or inside it, stays
_COMMENTS = re.compile(rb"^[ \t]*(?://.*|/\*(?:[^*]|\*(?!/))*\*/[ \t]*)$", re.MULTILINE)
_TEXT = ("text/", "application/json", "application/javascript", "application/problem+json", "image/svg+xml")


def _is_text(response: HttpResponseBase) -> bool:
    return response.headers.get("Content-Type", "").startswith(_TEXT)


class StaticFiles(WhiteNoiseMiddleware):
    """whitenoise, without source maps and with compressed text even if nothing is collected."""

    def add_file_to_dictionary(self, url: str, path: str, stat_cache: Any = None) -> None:
        """As in whitenoise, without source maps: they are megabytes that only a package's authors need."""
        if not url.endswith(".map"):
            super().add_file_to_dictionary(url, path, stat_cache=stat_cache)

    def find_file(self, url: str) -> Any:
        """The same if files are looked up at each request."""
        return None if url.endswith(".map") else super().find_file(url)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponseBase:
        """As in whitenoise, compressed if that helps."""
        answer: HttpResponseBase = WhiteNoiseMiddleware.serve(static_file, request)
        if answer.has_header("Content-Encoding") or not _is_text(answer):
            return answer
        patch_vary_headers(answer, ("Accept-Encoding",))
        file = getattr(answer, "file_to_stream", None)
        if request.method != "GET" or answer.status_code != 200 or file is None:
            return answer
        size = int(answer.headers.get("Content-Length", 0))
        encoding = _encoding(request.headers.get("Accept-Encoding", ""))
        if size < MIN_SIZE or not encoding:
            return answer
        compressed = HttpResponse(_compressed(file.name, answer.headers.get("Last-Modified", ""), size, encoding))
        for name, value in answer.items():
            compressed[name] = value
        answer.close()
        compressed["Content-Encoding"] = encoding
        compressed["Content-Length"] = str(len(compressed.content))
        return compressed


def _encoding(accepted: str) -> str:
    """The best encoding that a client accepts; "" for none."""
    if _ACCEPTS_BROTLI.search(accepted):
        return "br"
    return "gzip" if re_accepts_gzip.search(accepted) else ""


@lru_cache(maxsize=512)
def _compressed(path: str, modified: str, size: int, encoding: str) -> bytes:
    """A file's content, compressed; ``modified`` and ``size`` identify its version."""
    content = Path(path).read_bytes()
    if path.endswith(".js") and _SCRIPTS in Path(path).parents:
        content = without_comments(content)
    if encoding == "br":
        return bytes(brotli.compress(content, quality=10))  # 11 takes three times as long for the last 3%
    return gzip.compress(content, compresslevel=9, mtime=0)


def without_comments(script: bytes) -> bytes:
    """A script with empty lines in place of its comments, so that line numbers in errors stay right."""
    return _COMMENTS.sub(lambda comment: b"\n" * comment[0].count(b"\n"), script)


class StaticStorage(CompressedStaticFilesStorage):
    """whitenoise's, for ``collectstatic``: scripts of this project are stored without comments."""

    def post_process(self, paths: dict[str, Any], dry_run: bool = False, **options: Any) -> Iterator[Any]:
        """Removes the comments, then compresses."""
        for name in paths:
            if not dry_run and name.startswith("js/") and name.endswith(".js"):
                file = Path(self.path(name))
                file.write_bytes(without_comments(file.read_bytes()))
        yield from super().post_process(paths, dry_run, **options)


class Compression(GZipMiddleware):
    """Django's, for pages and JSON. CSRF tokens are masked and lengths are padded at random (BREACH)."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Compresses text above a minimum length."""
        if response.streaming or not isinstance(response, HttpResponse) or not _is_text(response):
            return response
        if len(response.content) < MIN_SIZE or response.has_header("Content-Disposition"):
            return response
        return super().process_response(request, response)
