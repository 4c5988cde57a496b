"""The panel of the pipeline."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from evaluation.pipeline.services import latest_pipeline
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest


@require_safe
def panel(request: SignedInRequest, slug: str) -> HttpResponse:
    """The panel of the latest pipeline run, which refreshes itself while it is live."""
    context = latest_pipeline(project_for(request.user, slug, Action.READ))
    return render(request, "evaluation/pipeline/panel.html", context) if context else HttpResponse(status=204)
