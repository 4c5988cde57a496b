"""Pages of endpoints: add, change, test and remove."""

import os
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.endpoints import permits, services
from evaluation.endpoints.forms import EndpointForm
from evaluation.models import Endpoint
from slmstudio.access import Action, project_for
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest


def _endpoint_of(request: SignedInRequest, slug: str, pk: int, action: Action) -> tuple[Any, Endpoint]:
    project = project_for(request.user, slug, action)
    return project, get_object_or_404(project.endpoints.in_use(project), pk=pk)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new endpoint; then redirects to its page."""
    project = project_for(request.user, slug, Action.RUN)
    form = EndpointForm.of(Endpoint())
    if request.method == "POST":
        form = EndpointForm(request.POST)
        created = _saved(request, project, form, None)
        if created is not None:
            messages.success(request, f"{created.name} was added. Test it before using it.")
            return redirect("endpoint", project.slug, created.pk)
    context = {"project": project, "form": form}
    return render(request, "evaluation/endpoints/endpoint.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def endpoint(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """One endpoint: its settings and its last test."""
    project, row = _endpoint_of(request, slug, pk, Action.RUN)
    form = EndpointForm.of(row)
    if request.method == "POST":
        form = EndpointForm(request.POST)
        if _saved(request, project, form, row) is not None:
            messages.success(request, f"{row.name} was saved.")
            return redirect("endpoint", project.slug, row.pk)
        row.refresh_from_db()
    context = {
        "project": project,
        "form": form,
        "endpoint": row,
        "key_set": bool(row.key_variable and os.environ.get(row.key_variable)),
        "permits": [(purpose, permits.permit_for(row, purpose)) for purpose in permits.Purpose],
    }
    return render(request, "evaluation/endpoints/endpoint.html", context, status=422 if form.errors else 200)


def _saved(request: SignedInRequest, project: Any, form: EndpointForm, row: Endpoint | None) -> Endpoint | None:
    """The saved endpoint; None if the form has errors."""
    if form.is_valid():
        with FieldErrors(form):
            return services.save_endpoint(project=project, user=request.user, endpoint=row, **form.cleaned_data)
    return None


@require_POST
def test(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Tests the endpoint with one document; its page then shows the result."""
    _, row = _endpoint_of(request, slug, pk, Action.RUN)
    services.test_endpoint(endpoint=row, user=request.user)
    return redirect("endpoint", row.project.slug, row.pk)


@require_POST
def permit(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Gives or withdraws the permission to send documents of a purpose (owner only)."""
    project, row = _endpoint_of(request, slug, pk, Action.ADMINISTER)
    wanted = request.POST.get("purpose")
    purpose = permits.Purpose.DOCUMENTS if wanted == permits.Purpose.DOCUMENTS else permits.Purpose.HOLDOUT
    if request.POST.get("permit") == "yes":
        permits.grant(endpoint=row, user=request.user, purpose=purpose)
        messages.success(request, f"{purpose.label.capitalize()} can now be sent to {row.name}.")
    else:
        permits.withdraw(endpoint=row, user=request.user, purpose=purpose)
        messages.success(request, f"No permission to send {purpose.label} to {row.name} any more.")
    return redirect("endpoint", project.slug, row.pk)


@require_POST
def remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes an endpoint; its pre-labels are kept."""
    project, row = _endpoint_of(request, slug, pk, Action.RUN)
    if services.retire(endpoint=row, user=request.user):
        messages.success(request, f"{row.name} was removed. Its pre-labels are kept.")
    return redirect("prelabels", project.slug)
