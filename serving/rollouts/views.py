"""The rollout on the page of a deployment: evidence, stages, plan."""

from typing import Any

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from serving.models import RolloutPlan
from serving.models.rollouts import DEFAULT_MARGIN
from serving.rollouts import queries, services
from slmstudio.access import Action, project_for
from slmstudio.web.forms import BootstrapForm
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to


class PlanForm(BootstrapForm):
    """Shares are entered in percent."""

    auto_promote = forms.BooleanField(
        label="Promote automatically",
        required=False,
        help_text="A ready candidate moves to the next stage. A bad candidate is always aborted.",
    )
    max_failure_rate = forms.FloatField(
        label="Maximum failed requests (%)",
        required=False,
        min_value=0.01,
        max_value=50,
    )
    p95_ms = forms.IntegerField(
        label="Maximum p95 latency (ms)",
        required=False,
        min_value=1,
        max_value=600_000,
    )
    max_disagreement = forms.FloatField(
        label="Maximum documents on which most fields differ (%)",
        required=False,
        min_value=5,
        max_value=99,
        help_text="Detects a broken model that still writes valid outputs. Leave empty for no limit.",
    )
    min_requests = forms.IntegerField(
        label="Minimum candidate requests at each share",
        min_value=1,
        max_value=1_000_000,
    )
    margin = forms.FloatField(
        label="Maximum ratio of candidate failures to stable failures",
        min_value=1.05,
        max_value=10,
        initial=DEFAULT_MARGIN,
    )

    @classmethod
    def from_plan(cls, plan: RolloutPlan) -> "PlanForm":
        """The form with a plan's values."""
        rate, apart = plan.max_failure_rate, plan.max_disagreement
        values: dict[str, Any] = {
            "auto_promote": plan.auto_promote, "p95_ms": plan.p95_ms, "min_requests": plan.min_requests,
            "margin": plan.margin, "max_failure_rate": None if rate is None else round(100 * rate, 4),
            "max_disagreement": None if apart is None else round(100 * apart, 2),
        }  # fmt: skip
        return cls(initial=values)

    def values(self) -> dict[str, Any]:
        """What ``rollouts.services.set_plan`` takes."""
        shares = {
            name: None if self.cleaned_data[name] is None else self.cleaned_data[name] / 100
            for name in ("max_failure_rate", "max_disagreement")
        }
        return {**self.cleaned_data, **shares}


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
    context = {"project": project, "status": status, "form": PlanForm.from_plan(status.plan) if status else None}
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
        form = PlanForm.from_plan(queries.plan_of(status.deployment))
        status = queries.status_of(project, timezone.now())
        return render(request, f"{_TEMPLATE}#plan", {"project": project, "status": status, "form": form, "saved": True})
    part = "#plan" if is_htmx(request) else ""
    return render(request, f"{_TEMPLATE}{part}", {"project": project, "status": status, "form": form}, status=422)
