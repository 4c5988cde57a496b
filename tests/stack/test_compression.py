"""Responses are compressed without ``collectstatic``, as in ``make demo``."""

import gzip
import re
from typing import Any

import brotli
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from slmstudio.web.compression import Compression, without_comments

GZIP, BROTLI = {"Accept-Encoding": "gzip, deflate"}, {"Accept-Encoding": "gzip, deflate, br, zstd"}
CSS = "/static/vendor/bootstrap/css/bootstrap.min.css"


def body_of(answer: Any) -> bytes:
    return answer.getvalue() if answer.streaming else bytes(answer.content)


@pytest.mark.django_db  # the end of a request looks after the connection that a test before it left open
@pytest.mark.parametrize(
    ("headers", "encoding", "unpack"),
    [
        ({}, None, bytes),
        (GZIP, "gzip", gzip.decompress),
        (BROTLI, "br", brotli.decompress),
        ({"Accept-Encoding": "gzip, br;q=0"}, "gzip", gzip.decompress),
    ],
)
def test_static_files(headers: dict[str, str], encoding: str | None, unpack: Any) -> None:
    plain = body_of(Client().get(CSS))
    answer = Client().get(CSS, headers=headers)
    assert answer.status_code == 200
    assert answer.headers.get("Content-Encoding") == encoding
    assert answer["Vary"] == "Accept-Encoding"
    body = body_of(answer)
    assert int(answer["Content-Length"]) == len(body)
    assert unpack(body) == plain
    if encoding:
        assert len(body) < len(plain) / 4
    again = Client().get(CSS, headers={**headers, "If-Modified-Since": answer["Last-Modified"]})
    assert again.status_code == 304


@pytest.mark.django_db
def test_uncompressed_responses() -> None:
    icon = Client().get("/static/vendor/swagger-ui/favicon-32x32.png", headers=GZIP)
    assert "Content-Encoding" not in icon.headers
    part = Client().get(CSS, headers={**GZIP, "Range": "bytes=0-99"})
    assert (part.status_code, len(body_of(part)), "Content-Encoding" in part.headers) == (206, 100, False)


@pytest.mark.django_db
def test_compressed_pages(servers: Any) -> None:
    answer = Client().get("/login/", headers=GZIP)
    assert answer["Content-Encoding"] == "gzip"
    assert b"csrfmiddlewaretoken" in gzip.decompress(answer.content)
    lengths = {len(Client().get("/login/", headers=GZIP).content) for _ in range(8)}
    assert len(lengths) > 1  # padded at random


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse("short"),
        HttpResponse(b"\0" * 5000, content_type="application/zip"),
        StreamingHttpResponse(iter(["a" * 5000])),
        FileResponse(iter([b"a" * 5000]), as_attachment=True, filename="a.txt"),
        HttpResponse("a" * 5000, headers={"Content-Disposition": "attachment"}),
    ],
)
def test_small_and_streamed_responses_are_not_compressed(response: Any) -> None:
    middleware: Any = Compression(lambda request: response)
    request = RequestFactory().get("/", headers=GZIP)
    assert "Content-Encoding" not in middleware(request).headers


def test_source_maps_are_neither_served_nor_collected() -> None:
    assert Client().get(f"{CSS}.map").status_code == 404
    patterns = apps.get_app_config("staticfiles").ignore_patterns  # type: ignore[attr-defined]
    names = [path for finder in get_finders() for path, _ in finder.list(patterns)]
    assert [name for name in names if name.endswith(".map")] == []


@pytest.mark.django_db
def test_scripts_are_served_without_comments() -> None:
    source = b"""// What it does.
/**
 * @param {string} url
 */
export const link = (url) => url || "https://example.org/"; // kept
  /* all */ const one = 1;
"""
    lines = without_comments(source).decode().split("\n")
    assert lines[:4] == [""] * 4
    assert lines[4:] == source.decode().split("\n")[4:]
    script = Client().get("/static/js/annotation/form.js", headers=GZIP)
    assert not re.search(rb"^ *//", gzip.decompress(script.content), re.MULTILINE)
    for path in (settings.BASE_DIR / "static/js").rglob("*.js"):
        for text in re.findall(r"`[^`]*`", without_comments(path.read_bytes()).decode()):
            assert not re.search(r"\n\s*(//|/\*)", text), f"a line in a string of {path} looks like a comment"
