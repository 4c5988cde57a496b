"""GET requests to POST-only URLs, from the address bar or Back: a redirect to the page they belong to."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve

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
        found = {"title": "This page cannot be opened", "text": words, "status": 405}
        answer = render(request, "error.html", found, status=405)
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
