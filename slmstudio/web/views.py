"""Pages without an app: health, errors; and problem objects (RFC 9457), the error format of the REST interface."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import django_rq
from django.contrib.auth.decorators import login_not_required
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from redis.exceptions import RedisError

from slmstudio.contract.json_text import dumps


@login_not_required
def health(request: HttpRequest) -> HttpResponse:
    """200 if database and queue answer; 503 with those that do not."""
    problems = {}
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception as error:
        problems["database"] = type(error).__name__
    try:
        django_rq.get_connection("default").ping()
    except RedisError as error:
        problems["queue"] = type(error).__name__
    return JsonResponse({"ok": not problems, **problems}, status=503 if problems else 200)


def _error(request: HttpRequest, status: int, title: str, text: str, **context: Any) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem(status, f"{title}. {text}")
    return render(request, "error.html", {"title": title, "text": text, "status": status, **context}, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400."""
    return _error(request, 400, "Bad request", "Nothing was changed. Go back and try again.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403, with the roles that are allowed."""
    return _error(request, 403, "Not allowed", str(exception) or "Your role does not allow this.")


def content_too_large(request: HttpRequest, limit: str, *, files: bool) -> HttpResponse:
    """413 for a body that is too large; ``files``: an upload, which can be split."""
    advice = "Split it and import the parts." if files else "Send it in several parts."
    return _error(request, 413, "Upload too large", f"The limit is {limit}. {advice} Nothing was stored.")


def insufficient_storage(request: HttpRequest) -> HttpResponse:
    """507 for an upload for which the disk has no room."""
    text = "Nothing was stored. Ask an administrator to free some space, then try again."
    return _error(request, 507, "The server disk is full", text)


def sign_in_first(request: HttpRequest, limit: str) -> HttpResponse:
    """413 (REST: 401) for a large body from a client that is not signed in."""
    if request.path.startswith("/api/"):
        detail = f"The limit without a token is {limit}. Send a token: Authorization: Bearer slm_..."
        return problem(401, detail, headers={"WWW-Authenticate": "Bearer"})
    text = f"The limit without signing in is {limit}. Sign in and send it again. Nothing was stored."
    return _error(request, 413, "Sign in first", text)


def too_many_requests(
    request: HttpRequest, text: str, seconds: int, *, title: str = "Too many attempts"
) -> HttpResponse:
    """429, with the seconds until the next attempt."""
    answer = _error(request, 429, title, text)
    answer["Retry-After"] = str(seconds)
    return answer


def sign_in_unavailable(request: HttpRequest, seconds: int) -> HttpResponse:
    """503 while attempts to sign in cannot be counted."""
    text = (
        "The job queue is not responding, so sign-in attempts cannot be limited. Try again in a minute. Users who are "
        "already signed in can continue."
    )
    answer = _error(request, 503, "Sign-in is unavailable", text)
    answer["Retry-After"] = str(seconds)
    return answer


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, without the navigation of a project that may not exist for this user."""
    text = "It does not exist, was deleted, or belongs to a project that you are not in."
    return _error(request, 404, "Page not found", text, sections=[])


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
