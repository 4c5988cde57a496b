"""Starts and cancels replays on the page of a deployment."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST

from serving.deployments import queries as deployment_queries
from serving.models import Replay
from serving.replays import services
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to

DEFAULT_LIMIT = 1_000


@require_POST
def replay_new(request: SignedInRequest, slug: str) -> HttpResponse:
    """Replays logged requests for the candidate in shadow."""
    project = project_for(request.user, slug, Action.DEPLOY)
    found = deployment_queries.find(project)
    text = request.POST.get("limit", "")
    refused = "Nothing is deployed."
    if found is not None:
        try:
            limit = int(text) if text.isdecimal() and len(text) < 9 else DEFAULT_LIMIT
            services.start(deployment=found, user=request.user, limit=limit)
        except Refused as error:
            refused = error.message
        else:
            return redirect_to(request, f"{reverse('deployment', args=[slug])}#rollout")
    context = {"project": project, "refused": refused}
    return render(request, "serving/replays/refused.html", context, status=422)


@require_POST
def replay_cancel(request: SignedInRequest, slug: str) -> HttpResponse:
    """Cancels the replay that runs."""
    project = project_for(request.user, slug, Action.DEPLOY)
    for replay in Replay.objects.live().filter(project=project):
        services.cancel(replay=replay, user=request.user)
    return redirect_to(request, f"{reverse('deployment', args=[slug])}#rollout")
