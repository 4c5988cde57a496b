"""Middleware: the viewer's time zone, and GET requests to POST-only URLs.

The browser sends its zone in a cookie (``static/js/site/base.js``). Unknown names are ignored: the site's zone applies.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve
from django.utils import timezone

COOKIE = "zone"
MAX_NAME_LENGTH = 64


def viewer_zone(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: handles a request in the zone that its cookie names."""

    def middleware(request: HttpRequest) -> HttpResponse:
        zone = zone_of(request.COOKIES.get(f"__Host-{COOKIE}") or request.COOKIES.get(COOKIE, ""))
        if zone is None:
            return get_response(request)
        with timezone.override(zone):
            return get_response(request)

    return middleware


def zone_of(name: str) -> ZoneInfo | None:
    """The zone of this name, as ``Europe/Berlin``; None if there is none."""
    if not name or len(name) > MAX_NAME_LENGTH:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a path, a NUL
        return None


_READ_METHODS = ("GET", "HEAD")


def redirect_get(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: if a browser opens a POST-only URL, redirects to the page above it.

    Requests other than for a page (the REST interface, scripts) get the plain 405.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        answer = get_response(request)
        if answer.status_code != 405 or not _is_page(request):
            return answer
        above = page_above(request.path) if request.method in _READ_METHODS else ""
        if above:
            return redirect(above)
        allowed = answer.get("Allow", "")
        words = "This URL does not accept this request. Nothing was changed."
        context = {"title": "This page cannot be opened", "text": words, "status": 405}
        answer = render(request, "error.html", context, status=405)
        answer["Allow"] = allowed
        return answer

    return middleware


def _is_page(request: HttpRequest) -> bool:
    """Whether a browser requests a page, and not a script a part of one."""
    is_script = bool(getattr(request, "htmx", False)) or request.headers.get("Sec-Fetch-Dest", "document") != "document"
    is_api = request.path.startswith("/api/")
    return not is_script and not is_api and "text/html" in request.headers.get("Accept", "")


def page_above(path: str) -> str:
    """The nearest existing URL above; "" if there is none."""
    parts = path.strip("/").split("/")
    for length in range(len(parts) - 1, 0, -1):
        above = f"/{'/'.join(parts[:length])}/"
        try:
            resolve(above)
        except Resolver404:
            continue
        return above
    return "/" if path != "/" else ""
