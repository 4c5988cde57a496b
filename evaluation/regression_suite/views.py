"""The regression suite: its page, and pinning and unpinning a document."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from evaluation.http import set_project
from evaluation.regression_suite import services
from labeling.models import Document, Project
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, query_param

PAGE_SIZE = 30


@require_safe
def suite(request: SignedInRequest, slug: str) -> HttpResponse:
    """The pinned documents with the results of the newest evaluations; ``?show=removed``: former ones."""
    project = project_for(request.user, slug, Action.READ)
    context: dict[str, Any] = {"project": project, "removed": query_param(request, "show") == "removed"}
    if context["removed"]:
        rows: Any = services.unpinned(project)
    else:
        context["runs"], rows = services.pinned_with_results(project)
        set_project(project, *context["runs"])
        context["broken"] = sum(row.newest is False for row in rows)
        context["unchecked"] = sum(row.newest is None for row in rows)
    context["page"] = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    return render(request, "evaluation/regression_suite/suite.html", context)


@require_POST
def pin(request: SignedInRequest, slug: str, document: int) -> HttpResponse:
    """Pins a document, with an optional ``reason``."""
    project = project_for(request.user, slug, Action.PROPOSE_POLICY)
    row = _document(project, document)
    try:
        services.pin(project=project, document=row, user=request.user, reason=request.POST.get("reason", ""))
    except Refused as error:
        return _answer(request, project, row, error=error.message)
    return _answer(request, project, row)


@require_POST
def unpin(request: SignedInRequest, slug: str, document: int) -> HttpResponse:
    """Unpins a document. Requires the permission to set the gate policy, because gates test the suite."""
    project = project_for(request.user, slug, Action.SET_POLICY)
    row = _document(project, document)
    if not services.unpin(project=project, document=row, user=request.user, reason=request.POST.get("reason", "")):
        messages.info(request, f"{row.external_id} was not pinned.")
    return _answer(request, project, row)


def _document(project: Project, key: int) -> Document:
    return get_object_or_404(project.documents.only("external_id", "project_id", "holdout"), pk=key)


def _answer(request: SignedInRequest, project: Project, document: Document, error: str = "") -> HttpResponse:
    """The current button, or a redirect to the page of the suite."""
    if not is_htmx(request):
        if error:
            messages.error(request, error)
        return redirect("eval_suite", project.slug)
    context = {"project": project, "document_id": document.pk, "error": error}
    context["pinned"] = services.of_document(document) is not None
    return render(request, "evaluation/regression_suite/pin.html", context, status=422 if error else 200)
