"""The rollout on the page of a deployment: evidence, stages, plan."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from serving.rollouts import queries, services
from serving.rollouts.forms import PlanForm
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to

_TEMPLATE = "serving/rollouts/rollout.html"
#: an event of the browser: the status of the deployment reads itself again
_CHANGED = "deployment-changed"


@require_safe
def rollout(request: SignedInRequest, slug: str) -> HttpResponse:
    """The section, or with ``part=evidence`` what changes in it. ``seen``: the revision that the page shows."""
    project = project_for(request.user, slug, Action.READ)
    if not is_htmx(request):
        return redirect_to(request, reverse("deployment", args=[slug]))
    status = queries.status_of(project, timezone.now())
    part = "#evidence" if request.GET.get("part") == "evidence" else ""
    context = {"project": project, "status": status, "form": PlanForm.of(status.plan) if status else None}
    response = render(request, f"{_TEMPLATE}{part}", context)
    if part and status is not None and request.GET.get("seen") != str(status.deployment.revision):
        response["HX-Trigger"] = _CHANGED
    return response


@require_http_methods(["GET", "HEAD", "POST"])
def plan(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores the plan."""
    project = project_for(request.user, slug, Action.DEPLOY)
    address = reverse("deployment", args=[slug])
    status = queries.status_of(project, timezone.now())
    if request.method != "POST" or status is None:
        return redirect_to(request, address)
    form = PlanForm(request.POST)
    if form.is_valid():
        services.set_plan(deployment=status.deployment, user=request.user, **form.values())
        if not is_htmx(request):
            return redirect_to(request, address)
        form = PlanForm.of(queries.plan_of(status.deployment))
        status = queries.status_of(project, timezone.now())
        return render(request, f"{_TEMPLATE}#plan", {"project": project, "status": status, "form": form, "saved": True})
    part = "#plan" if is_htmx(request) else ""
    return render(request, f"{_TEMPLATE}{part}", {"project": project, "status": status, "form": form}, status=422)
