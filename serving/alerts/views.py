"""The page of a project's alerts: rules with their states, recipients, what happened."""

from typing import Any

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from serving.alerts import queries, rules
from serving.alerts.forms import RecipientsForm, RuleForm
from serving.alerts.metrics import METRICS
from serving.deployments.queries import was_used
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, redirect_to

_TEMPLATE = "serving/alerts/alerts.html"


@require_safe
def alerts(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page. ``edit``: the metric whose rule is open."""
    project = project_for(request.user, slug, Action.READ)
    return _render(request, project, editing=request.GET.get("edit", ""))


@require_http_methods(["GET", "HEAD", "POST"])
def alert_rule(request: SignedInRequest, slug: str, metric: str) -> HttpResponse:
    """Changes a rule."""
    project = project_for(request.user, slug, Action.DEPLOY)
    if metric not in METRICS:
        raise Http404("There is no such alert.")
    address = reverse("deploy_alerts", args=[slug])
    if request.method != "POST":
        return redirect_to(request, f"{address}?edit={metric}#alert-{metric}")
    rule = next(one for one in rules.rules_of(project) if one.metric == metric)
    form = RuleForm(request.POST, metric=METRICS[metric])
    if form.is_valid():
        try:
            rules.change(project=project, user=request.user, metric=metric, values=form.values(rule))
        except Refused as error:
            form.add_error(error.field if error.field in form.fields else None, error.message)
        else:
            return redirect_to(request, address)
    return _render(request, project, editing=metric, form=form, status=422)


@require_http_methods(["GET", "HEAD", "POST"])
def recipients(request: SignedInRequest, slug: str) -> HttpResponse:
    """Stores who gets mail."""
    project = project_for(request.user, slug, Action.DEPLOY)
    address = reverse("deploy_alerts", args=[slug])
    if request.method != "POST":
        return redirect_to(request, f"{address}#recipients")
    form = RecipientsForm(request.POST)
    if form.is_valid():
        try:
            lines = form.cleaned_data["addresses"].replace(",", "\n").splitlines()
            rules.set_recipients(project=project, user=request.user, addresses=lines)
        except Refused as error:
            form.add_error("addresses", error.message)
        else:
            return redirect_to(request, address)
    return _render(request, project, recipients_form=form, status=422)


def _render(
    request: SignedInRequest, project: Any, *, editing: str = "", form: RuleForm | None = None,
    recipients_form: RecipientsForm | None = None, status: int = 200,
) -> HttpResponse:  # fmt: skip
    may_change = Action.DEPLOY in project.can
    context = {
        "project": project,
        "lines": queries.lines(project) if was_used(project) else [],
        "events": queries.events(project),
        "editing": editing if may_change else "",
        "form": form,
        "recipients_form": recipients_form or RecipientsForm(initial={"addresses": queries.addresses(project)}),
        "mail_problem": queries.mail_problem(),
    }
    if may_change and editing in METRICS and form is None and context["lines"]:
        context["form"] = RuleForm.of(next(line.rule for line in context["lines"] if line.rule.metric == editing))
    return render(request, _TEMPLATE, context, status=status)
