"""The page of drift."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from serving.drift import comparison, queries
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


@require_safe
def drift(request: SignedInRequest, slug: str) -> HttpResponse:
    """The newest check with its metrics, and the checks before it."""
    project = project_for(request.user, slug, Action.READ)
    context = {
        "project": project,
        "view": queries.view(project),
        "period_days": comparison.PERIOD_DAYS,
        "period_level": comparison.PERIOD_LEVEL,
        "min_distance": comparison.MIN_DISTANCE,
        "min_share": comparison.MIN_SHARE,
    }
    return render(request, "serving/drift/drift.html", context)
