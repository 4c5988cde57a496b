"""Problem objects (RFC 9457): the error format of the REST interface."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from django.http import HttpResponse

from slmstudio.contract.json_text import dumps

MEDIA_TYPE = "application/problem+json"


def problem(
    status: int,
    detail: str,
    errors: Iterable[Mapping[str, Any]] = (),
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """An error response with a sentence; ``errors`` names the rows or fields."""
    # A sentence may quote the request: a lone surrogate cannot be encoded, and NUL is rejected by readers.
    detail = detail.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **(more or {}),
    }
    listed = [dict(error) for error in errors]
    if listed:
        content["errors"] = listed
    body = dumps(content).encode(errors="replace")
    return HttpResponse(body, status=status, content_type=MEDIA_TYPE, headers=dict(headers or {}))
