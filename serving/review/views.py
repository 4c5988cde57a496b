"""The page of the review queue with live accuracy."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from labeling.failure_tags import tags_of
from labeling.models import Project
from serving.deployments import queries as deployment_queries
from serving.models.review import Reason
from serving.review import accuracy, queue
from serving.review.sampling import confidence_floor
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import RefusalMessage
from slmstudio.web.requests import SignedInRequest, query_param

RIGHT, WRONG, LABEL, DISMISS = "right", "wrong", "label", "dismiss"
_DONE = {
    RIGHT: ("request marked correct", "requests marked correct"),
    WRONG: ("request sent to labeling as wrong", "requests sent to labeling as wrong"),
    LABEL: ("request sent to labeling", "requests sent to labeling"),
    DISMISS: ("request dismissed", "requests dismissed"),
}


class DecisionForm(forms.Form):
    """What to do with items of the queue."""

    action = forms.ChoiceField(choices=[(name, name) for name in _DONE])
    items = forms.TypedMultipleChoiceField(coerce=int, required=False)
    everything = forms.BooleanField(required=False)
    reason = forms.CharField(required=False, max_length=10)
    tag = forms.ChoiceField(required=False)

    def __init__(self, data: Any, *, project: Project) -> None:
        super().__init__(data)
        given = [pk for pk in data.getlist("items") if pk.isascii() and pk.isdigit() and len(pk) < 19]
        self.fields["items"].choices = [(pk, pk) for pk in given]  # type: ignore[attr-defined]
        self.fields["tag"].choices = [("", ""), *((name, name) for name in tags_of(project))]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or self.cleaned_data
        if not values.get("items") and not values.get("everything"):
            self.add_error("items", "Select at least one request.")
        return values


@require_safe
def review(request: SignedInRequest, slug: str) -> HttpResponse:
    """Live accuracy, and for reviewers the queue. Reason, order and position are URL parameters."""
    project = project_for(request.user, slug, Action.READ)
    deployment = deployment_queries.find(project)
    context: dict[str, Any] = {
        "project": project,
        "deployment": deployment,
        "versions": accuracy.by_version(project, deployment, timezone.now()),
        "days": accuracy.DAYS,
    }
    if Action.REVIEW in project.can:
        reason = query_param(request, "reason")
        reason = reason if reason in Reason.values else ""
        order = queue.NEWEST if request.GET.get("order") == queue.NEWEST else queue.WORST
        counts = queue.counts(project)
        context |= {
            "reason": reason,
            "order": order,
            "filters": [
                ("", "All", counts.get("", 0)),
                *((name, label, counts.get(name, 0)) for name, label in Reason.choices if name in (reason, *counts)),
            ],
            "page": queue.queue_page(project, reason=reason, order=order, after=request.GET.get("after", "")),
            "total": counts.get(reason, 0),
            "tags": list(tags_of(project).items()),
            "limit": queue.MAX_ITEMS,
            "floor": confidence_floor(deployment) if deployment is not None else project.confidence_floor,
        }
    return render(request, "serving/review/review.html", context)


@require_safe
def request_page(request: SignedInRequest, slug: str) -> HttpResponse:
    """A caller's request by its id. Its text and output are for users who may review, and for the user who sent it."""
    project = project_for(request.user, slug, Action.READ)
    deployment = deployment_queries.find(project)
    floor = confidence_floor(deployment) if deployment is not None else project.confidence_floor
    context: dict[str, Any] = {
        "project": project, "wanted": request.GET.get("id", "").strip()[:100], "shown": None, "floor": floor,
    }  # fmt: skip
    try:
        shown = context["shown"] = queue.shown_request(project, context["wanted"])
        context["is_visible"] = Action.REVIEW in project.can or shown.request.is_of(request.user)
    except Refused as refused:
        context["refused"] = refused.message
    return render(request, "serving/review/request.html", context, status=404 if "refused" in context else 200)


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
    reason, action, items = (form.cleaned_data[name] for name in ("reason", "action", "items"))
    if form.cleaned_data["everything"]:
        items = queue.all_items(project, reason if reason in Reason.values else "")
    of: dict[str, Any] = {"project": project, "user": request.user, "items": items}
    with RefusalMessage(request):
        if action == RIGHT:
            done = queue.mark_right(**of)
        elif action == DISMISS:
            done = queue.dismiss(**of)
        else:
            done = queue.send(**of, wrong=action == WRONG, tag=form.cleaned_data["tag"])
        text = f"{done.items:,} {ngettext(*_DONE[action], done.items)}."
        if done.gone:
            text += f" {done.gone:,} left the queue because their text is no longer stored."
        if done.rejected:
            text += f" {done.rejected:,} cannot be stored as documents and stay in the queue."
        messages.success(request, text)
        return redirect(address)
    return redirect(address)
