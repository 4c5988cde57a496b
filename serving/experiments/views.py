"""The page of A/B tests."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from serving.deployments import queries as deployment_queries
from serving.experiments import queries, services
from serving.experiments.forms import ExperimentForm
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to

_TEMPLATE = "serving/experiments/experiments.html"


@require_safe
def experiments(request: SignedInRequest, slug: str) -> HttpResponse:
    """All tests, and the form of the next one."""
    project = project_for(request.user, slug, Action.READ)
    return render(request, _TEMPLATE, _context(project))


def _context(project: Any, **more: Any) -> dict[str, Any]:
    found = deployment_queries.find(project)
    may_start = found is not None and found.stable_id is not None and Action.DEPLOY in project.can
    return {
        "project": project,
        "deployment": found,
        "experiments": queries.experiments(project),
        "running": queries.running(project),
        "form": ExperimentForm(project=project) if may_start else None,
        **more,
    }


@require_POST
def experiment_new(request: SignedInRequest, slug: str) -> HttpResponse:
    """Starts a test."""
    project = project_for(request.user, slug, Action.DEPLOY)
    form = ExperimentForm(request.POST, project=project)
    if form.is_valid():
        try:
            services.start(project=project, user=request.user, **form.values())
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, reverse("experiments", args=[slug]))
    return render(request, _TEMPLATE, _context(project, form=form), status=422)


@require_POST
def experiment_stop(request: SignedInRequest, slug: str) -> HttpResponse:
    """Ends the test that runs: B is taken out, or with ``keep=b`` answers everything."""
    project = project_for(request.user, slug, Action.DEPLOY)
    found = queries.running(project)
    refused = "No A/B test is running."
    if found is not None:
        try:
            services.stop(experiment=found, user=request.user, keep_b=request.POST.get("keep") == "b")
        except Refused as error:
            refused = error.message
        else:
            return redirect_to(request, reverse("experiments", args=[slug]))
    return render(request, _TEMPLATE, _context(project, refused=refused), status=422)
