"""Adding, changing, testing and removing endpoints: models elsewhere that propose labels."""

import os
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.gates.holdout import permits
from evaluation.inference import endpoints
from evaluation.models import Endpoint
from evaluation.prelabels.forms import EndpointForm
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


def _in_use() -> Any:
    return Endpoint.objects.filter(retired_at__isnull=True).select_related("project")


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new endpoint; once added, its page, where it can be tested."""
    project = project_for(request.user, slug, Action.RUN)
    form = EndpointForm.empty()
    if request.method == "POST":
        form = EndpointForm(request.POST)
        made = _saved(request, project, form, None)
        if made is not None:
            messages.success(request, f"{made.name} was added. Test it before you let it propose.")
            return redirect("endpoint", project.slug, made.pk)
    context = {"project": project, "form": form}
    return render(request, "evaluation/inference/endpoint.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def endpoint(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """One endpoint: its settings, and what the last test found."""
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
        "permit": permits.of(found),
    }
    return render(request, "evaluation/inference/endpoint.html", context, status=422 if form.errors else 200)


def _saved(request: SignedInRequest, project: Any, form: EndpointForm, found: Endpoint | None) -> Endpoint | None:
    """The endpoint as saved; None where the form has errors then."""
    if not form.is_valid():
        return None
    try:
        return endpoints.save_endpoint(project=project, user=request.user, endpoint=found, **form.cleaned_data)
    except Refused as refusal:
        form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        return None


@require_POST
def test(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Asks about one document; the page then shows what came of it."""
    _, found = object_for(request.user, slug, Action.RUN, _in_use(), pk=pk)
    endpoints.test_endpoint(endpoint=found)
    return redirect("endpoint", found.project.slug, found.pk)


@require_POST
def holdout(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Lets hold-out documents be sent there, or no more; the owner alone decides that."""
    project, found = object_for(request.user, slug, Action.ADMINISTER, _in_use(), pk=pk)
    if request.POST.get("permit") == "yes":
        permits.give(endpoint=found, user=request.user)
        messages.success(request, f"Hold-out documents may be sent to {found.name}.")
    else:
        permits.withdraw(endpoint=found, user=request.user)
        messages.success(request, f"No hold-out document is sent to {found.name}.")
    return redirect("endpoint", project.slug, found.pk)


@require_POST
def remove(request: SignedInRequest, slug: str, pk: int) -> HttpResponse:
    """Puts an endpoint aside; what it proposed stays."""
    project, found = object_for(request.user, slug, Action.RUN, _in_use(), pk=pk)
    if endpoints.retire(endpoint=found, user=request.user):
        messages.success(request, f"{found.name} was removed. What it proposed stays.")
    return redirect("prelabels", project.slug)
