"""Responses for pages and their htmx fragments."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse

from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


def is_fragment_request(request: HttpRequest) -> bool:
    """Whether htmx requests a fragment. Restoring the history needs the whole page."""
    htmx = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request


def page_or_fragment(
    request: HttpRequest, template: str, part: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Renders the page, or only its fragment ``part`` for htmx."""
    return render(request, f"{template}#{part}" if is_fragment_request(request) else template, context, status=status)


def query_param(request: HttpRequest, name: str) -> str:
    """A query parameter, stripped, without NUL and at most 300 characters; "" if it is missing."""
    return request.GET.get(name, "").replace("\0", "").strip()[:300]


def set_project(project: Any, *rows: Any) -> None:
    """Sets ``project`` on rows, so that their URLs take no query; skips None."""
    for row in rows:
        if row is not None:
            row.project = project


def redirect_to(request: HttpRequest, address: str) -> HttpResponse:
    """Redirects after a form, with or without htmx."""
    if is_fragment_request(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)


def moved_to(name: str) -> Callable[..., HttpResponse]:
    """A view at a former URL: redirects members permanently to the named one, with method and body."""

    def view(request: SignedInRequest, slug: str, **parameters: Any) -> HttpResponse:
        project_for(request.user, slug, Action.READ)
        query = request.META.get("QUERY_STRING", "")
        url = reverse(name, kwargs={"slug": slug, **parameters}) + (f"?{query}" if query else "")
        return HttpResponsePermanentRedirect(url, preserve_request=True)

    return view
