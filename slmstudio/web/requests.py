"""Requests of views behind the login, and responses for pages and their htmx fragments."""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render


class SignedInRequest(HttpRequest):
    """A request of a signed-in user: ``LoginRequiredMiddleware`` redirects others. For types only."""

    user: User


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx requests a fragment. Navigating back in the history requests the whole page."""
    htmx: Any = getattr(request, "htmx", None)
    return bool(htmx) and not htmx.history_restore_request


def positive_int(text: str | None) -> int:
    """A positive integer from a query string; 0 for anything else."""
    return int(text) if text and text.isdecimal() and len(text) < 10 else 0


def page_or_fragment(
    request: HttpRequest, template: str, part: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Renders the page, or only its fragment ``part`` for htmx."""
    return render(request, f"{template}#{part}" if is_htmx(request) else template, context, status=status)


def query_param(request: HttpRequest, name: str) -> str:
    """A query parameter, stripped, without NUL and at most 300 characters; "" if it is missing."""
    return request.GET.get(name, "").replace("\0", "").strip()[:300]


def redirect_to(request: HttpRequest, address: str) -> HttpResponse:
    """Redirects after a form, with or without htmx."""
    if is_htmx(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)
