"""The page of confidence: calibration, error budget and fallback of a deployment."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from serving.policies import queries, services
from serving.policies.forms import PolicyForm
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to

_TEMPLATE = "serving/policies/confidence.html"


@require_safe
def confidence(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page."""
    project = project_for(request.user, slug, Action.READ)
    return _page(request, project)


def _page(request: SignedInRequest, project: Any, *, form: PolicyForm | None = None, refused: str = "") -> HttpResponse:
    status = queries.status_of(project)
    if status is not None and form is None:
        form = PolicyForm(project=project, policy=status.policy)
    context = {"project": project, "status": status, "form": form, "refused": refused, "days": queries.DAYS}
    return render(request, _TEMPLATE, context, status=422 if refused or (form is not None and form.errors) else 200)


@require_http_methods(["GET", "HEAD", "POST"])
def policy(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the answer policy."""
    project = project_for(request.user, slug, Action.DEPLOY)
    address = reverse("deploy_confidence", args=[slug])
    status = queries.status_of(project)
    if request.method != "POST" or status is None:
        return redirect_to(request, address)
    form = PolicyForm(request.POST, project=project)
    if form.is_valid():
        try:
            services.set_policy(deployment=status.deployment, user=request.user, **form.values())
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, address)
    return _page(request, project, form=form)


@require_POST
def resume(request: SignedInRequest, slug: str) -> HttpResponse:
    """Answers automatically again after the budget was exceeded."""
    project = project_for(request.user, slug, Action.DEPLOY)
    status = queries.status_of(project)
    if status is None:
        return redirect_to(request, reverse("deploy_confidence", args=[slug]))
    try:
        services.resume(deployment=status.deployment, user=request.user, reason=request.POST.get("reason", "")[:1_000])
    except Refused as error:
        return _page(request, project, refused=error.message)
    return redirect_to(request, reverse("deploy_confidence", args=[slug]))
