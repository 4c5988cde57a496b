"""What every view here answers with: a page, or its fragment where htmx asks for one."""

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render


def wants_part(request: HttpRequest) -> bool:
    """Whether htmx asks for a fragment. Going back in the history asks for the whole page again."""
    htmx = getattr(request, "htmx", None)
    return htmx is not None and bool(htmx) and not htmx.history_restore_request


def page_or_part(
    request: HttpRequest, template: str, part: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """The page, or only its fragment ``part``."""
    return render(request, f"{template}#{part}" if wants_part(request) else template, context, status=status)


def asked(request: HttpRequest, name: str) -> str:
    """What the address asks for under a name, as far as a database can hold it; "" where it asks for nothing."""
    return request.GET.get(name, "").replace("\0", "").strip()[:300]


def belonging(project: Any, *rows: Any) -> None:
    """Tells rows of a project which it is, so that their addresses take no query; None is passed over."""
    for row in rows:
        if row is not None:
            row.project = project


def go(request: HttpRequest, address: str) -> HttpResponse:
    """Sends the browser to another page, from a form that htmx may have sent."""
    if wants_part(request):
        return HttpResponse(status=204, headers={"HX-Redirect": address})
    return HttpResponseRedirect(address)
