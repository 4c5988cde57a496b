"""Pages of endpoints: add, change, test and remove."""

import os
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.endpoints import permits, services
from evaluation.endpoints.forms import EndpointForm
from evaluation.models import Endpoint
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


def _in_use() -> Any:
    return Endpoint.objects.filter(retired_at__isnull=True).select_related("project")


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new endpoint; then redirects to its page."""
    project = project_for(request.user, slug, Action.RUN)
    form = EndpointForm.empty()
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
    project, found = object_for(request.user, slug, Action.RUN, _in_use(), pk=pk)
    form = EndpointForm.of(found)
    if request.method == "POST":
        form = EndpointForm(request.POST)
        if _saved(request, project, form, found) is not None:
            messages.success(request, f"{found.name} was saved.")
            return redirect("endpoint", project.slug, found.pk)
        found.refresh_from_db()
    context = {
        "project": project,
        "form": form,
        "endpoint": found,
        "key_set": bool(found.key_variable and os.environ.get(found.key_variable)),
        "permit": permits.permit_for(found),
    }
    return render(request, "evaluation/endpoints/endpoint.html", context, status=422 if form.errors else 200)


def _saved(request: SignedInRequest, project: Any, form: EndpointForm, found: Endpoint | None) -> Endpoint | None:
    """The saved endpoint; None if the form has errors."""
    if not form.is_valid():
        return None
    try:
        return services.save_endpoint(project=project, user=request.user, endpoint=found, **form.cleaned_data)
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        return None


@require_POST
def test(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Tests the endpoint with one document; its page then shows the result."""
    _, found = object_for(request.user, slug, Action.RUN, _in_use(), pk=pk)
    services.test_endpoint(endpoint=found, user=request.user)
    return redirect("endpoint", found.project.slug, found.pk)


@require_POST
def holdout(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Gives or withdraws the permission to send hold-out documents (owner only)."""
    project, found = object_for(request.user, slug, Action.ADMINISTER, _in_use(), pk=pk)
    if request.POST.get("permit") == "yes":
        permits.grant(endpoint=found, user=request.user)
        messages.success(request, f"Hold-out documents can now be sent to {found.name}.")
    else:
        permits.withdraw(endpoint=found, user=request.user)
        messages.success(request, f"Hold-out documents are no longer sent to {found.name}.")
    return redirect("endpoint", project.slug, found.pk)


@require_POST
def remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Removes an endpoint; its pre-labels are kept."""
    project, found = object_for(request.user, slug, Action.RUN, _in_use(), pk=pk)
    if services.retire(endpoint=found, user=request.user):
        messages.success(request, f"{found.name} was removed. Its pre-labels are kept.")
    return redirect("prelabels", project.slug)
