"""The review queue, and live accuracy with the plan of the sample."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from labeling.failure_tags import tags_of
from labeling.models import Project
from serving.feedback import decisions, live, queries, services
from serving.feedback.accuracy import TARGET
from serving.feedback.forms import DISMISS, LABEL, RIGHT, WRONG, DecisionForm, PlanForm
from serving.models import Deployment, Release
from serving.models.review import Reason
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, query_param

_DONE = {
    RIGHT: ("request marked correct", "requests marked correct"),
    WRONG: ("request sent to labeling as wrong", "requests sent to labeling as wrong"),
    LABEL: ("request sent to labeling", "requests sent to labeling"),
    DISMISS: ("request dismissed", "requests dismissed"),
}


@require_safe
def queue(request: SignedInRequest, slug: str) -> HttpResponse:
    """The queue. Reason, order and position are URL parameters."""
    project = project_for(request.user, slug, Action.REVIEW)
    reason = query_param(request, "reason")
    reason = reason if reason in Reason.values else ""
    order = queries.NEWEST if request.GET.get("order") == queries.NEWEST else queries.WORST
    counts = queries.counts(project)
    context = {
        "project": project,
        "tab": "review",
        "reason": reason,
        "order": order,
        "filters": [("", "All", counts.get("", 0))]
        + [(name, label, counts.get(name, 0)) for name, label in Reason.choices if counts.get(name) or name == reason],
        "page": queries.queue_page(project, reason=reason, order=order, after=request.GET.get("after", "")),
        "total": counts.get(reason, 0),
        "tags": list(tags_of(project).items()),
        "most": decisions.MAX_ITEMS,
        "deployment": Deployment.objects.filter(project=project).first(),
    }
    return render(request, "serving/feedback/queue.html", context)


@require_POST
def decide(request: SignedInRequest, slug: str) -> HttpResponse:
    """Decides about the selected items, or about all of a reason."""
    project = project_for(request.user, slug, Action.REVIEW)
    form = DecisionForm(request.POST, project=project)
    values = {name: request.POST.get(name, "") for name in ("reason", "order")}
    address = f"{reverse('deploy_review', args=[slug])}?{urlencode({k: v for k, v in values.items() if v})}"
    if not form.is_valid():
        messages.error(request, str(next(iter(form.errors.values()))[0]))
        return redirect(address)
    reason = form.cleaned_data["reason"]
    items = form.cleaned_data["items"]
    if form.cleaned_data["everything"]:
        items = queries.all_items(project, reason if reason in Reason.values else "", decisions.MAX_ITEMS)
    action = form.cleaned_data["action"]
    try:
        done = _decide(project, request, action, items, form.cleaned_data["tag"])
    except Refused as refusal:
        messages.error(request, refusal.message)
    else:
        _report(request, action, done)
    return redirect(address)


def _decide(project: Project, request: SignedInRequest, action: str, items: Any, tag: str) -> decisions.Decided:
    if action == RIGHT:
        return decisions.mark_right(project=project, user=request.user, items=items)
    if action == DISMISS:
        return decisions.dismiss(project=project, user=request.user, items=items)
    return decisions.send(project=project, user=request.user, items=items, wrong=action == WRONG, tag=tag)


def _report(request: SignedInRequest, action: str, done: decisions.Decided) -> None:
    text = f"{done.items:,} {ngettext(*_DONE[action], done.items)}."
    if done.gone:
        text += f" {done.gone:,} left the queue because their text is no longer stored."
    if done.rejected:
        text += f" {done.rejected:,} cannot be stored as documents and stay in the queue."
    messages.success(request, text)


@require_http_methods(["GET", "HEAD", "POST"])
def accuracy(request: SignedInRequest, slug: str) -> HttpResponse:
    """Live accuracy by version, and the plan of the sample; POST stores the plan."""
    project = project_for(request.user, slug, Action.DEPLOY if request.method == "POST" else Action.READ)
    deployment: Deployment | None = Deployment.objects.filter(project=project).first()
    if request.method == "POST" and deployment is None:
        return redirect(reverse("deployment", args=[slug]))
    form = None
    if deployment is not None:
        deployment.project = project
        form = PlanForm.of(queries.plan_of(project), project)
    status = 200
    if request.method == "POST" and deployment is not None:
        form = PlanForm(request.POST, project=project)
        if form.is_valid():
            services.set_plan(deployment=deployment, user=request.user, **form.values())
            messages.success(request, "Plan saved.")
            return redirect(reverse("deploy_accuracy", args=[slug]))
        status = 422
    context = {
        "project": project,
        "tab": "accuracy",
        "deployment": deployment,
        "form": form,
        "rows": _rows(project, deployment),
        "days": live.DAYS,
        "target": f"{100 * TARGET:g}",
    }
    return render(request, "serving/feedback/accuracy.html", context, status=status)


def _rows(project: Project, deployment: Deployment | None) -> list[dict[str, Any]]:
    """The releases with traffic in the period, the newest first."""
    now = timezone.now()
    found = live.live_accuracies(project, live.recent(now))
    serving = {deployment.stable_id, deployment.candidate_id} if deployment is not None else set()
    releases = Release.objects.filter(project=project, pk__in={*found, *(pk for pk in serving if pk)})
    return [
        {
            "release": release,
            "live": found.get(release.pk),
            "forecast": live.forecast_of(project, found.get(release.pk), now) if release.pk in serving else None,
        }
        for release in releases.select_related("endpoint", "package__eval_run").order_by("-number")
    ]
