"""The versions over time, a section of the page of a deployment."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from serving.navigation import section_url
from serving.review import retraining
from serving.versions import queries
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int


@require_safe
def versions(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every version that was served."""
    project = project_for(request.user, slug, Action.READ)
    if not is_htmx(request):
        return redirect(section_url(slug, "versions"))
    context = {
        "project": project,
        "versions": queries.versions(project, timezone.now()),
        "currency": project.currency,
        "proposals": retraining.open_proposals(project),
        "share_days": queries.SHARE_DAYS,
    }
    return render(request, "serving/versions/versions.html", context)


@require_POST
def dismiss(request: SignedInRequest, slug: str) -> HttpResponse:
    """Closes a retraining proposal."""
    project = project_for(request.user, slug, Action.RUN)
    pk = positive_int(request.POST.get("proposal"))
    if not retraining.dismiss(project=project, user=request.user, pk=pk):
        messages.error(request, "The proposal is not open.")
    return redirect(section_url(slug, "versions"))
