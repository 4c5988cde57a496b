"""Views at former URLs, and rows with the project that a view already has."""

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse, HttpResponsePermanentRedirect
from django.urls import reverse

from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


def set_project(project: Any, *rows: Any) -> None:
    """Sets ``project`` on rows, so that their URLs take no query; skips None."""
    for row in rows:
        if row is not None:
            row.project = project


def moved_to(name: str) -> Callable[..., HttpResponse]:
    """A view at a former URL: redirects members permanently to the named one, with method and body."""

    def view(request: SignedInRequest, slug: str, **parameters: Any) -> HttpResponse:
        project_for(request.user, slug, Action.READ)
        query = request.META.get("QUERY_STRING", "")
        url = reverse(name, kwargs={"slug": slug, **parameters}) + (f"?{query}" if query else "")
        return HttpResponsePermanentRedirect(url, preserve_request=True)

    return view
