"""Addresses that only take a form, opened from the address bar or by Back: a way to the page they belong to."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve

_LOOKING = ("GET", "HEAD")


def redirect_get(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: where a browser opens an address that only takes a form, sends it to the page above it.

    What is not asked for as a page (the REST interface, scripts) gets the plain 405.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        answer = get_response(request)
        if answer.status_code != 405 or not _is_page(request):
            return answer
        above = page_above(request.path) if request.method in _LOOKING else ""
        if above:
            return redirect(above)
        allowed = answer.get("Allow", "")
        words = "This address does not take what was sent to it. Nothing was changed."
        found = {"title": "That cannot be opened", "text": words, "status": 405}
        answer = render(request, "error.html", found, status=405)
        answer["Allow"] = allowed
        return answer

    return middleware


def _is_page(request: HttpRequest) -> bool:
    """Whether a browser asks for a page, and not a script for a part of one."""
    is_script = bool(getattr(request, "htmx", False)) or request.headers.get("Sec-Fetch-Dest", "document") != "document"
    is_api = request.path.startswith("/api/")
    return not is_script and not is_api and "text/html" in request.headers.get("Accept", "")


def page_above(path: str) -> str:
    """The nearest address above that there is; "" where there is none."""
    parts = path.strip("/").split("/")
    for length in range(len(parts) - 1, 0, -1):
        above = f"/{'/'.join(parts[:length])}/"
        try:
            resolve(above)
        except Resolver404:
            continue
        return above
    return "/" if path != "/" else ""
