"""The monitoring page: figures, alerts, drift and usage. The figures refresh themselves."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from serving.budgets import usage
from serving.deployments.queries import was_used
from serving.models import AlertRule
from serving.monitoring import alerts, drift
from serving.monitoring.alerts import METRICS, Metric
from serving.monitoring.figures import WINDOWS
from serving.monitoring.page import page
from slmstudio.access import Action, project_for
from slmstudio.web.forms import BootstrapForm
from slmstudio.web.requests import SignedInRequest, is_htmx, redirect_to

_TEMPLATE = "serving/monitoring/monitoring.html"


class RuleForm(BootstrapForm):
    """A rule: shares are entered in percent, times in minutes. Its fields have the metric in their ids."""

    limit = forms.FloatField(min_value=0, max_value=1e9)
    window_seconds = forms.FloatField(label="Window (minutes)", min_value=1, max_value=1_440)
    for_seconds = forms.FloatField(
        label="Exceeded for at least (minutes)", min_value=0, max_value=1_440,
    )  # fmt: skip
    min_requests = forms.IntegerField(label="Minimum requests", min_value=0, max_value=1_000_000)
    missing_fires = forms.BooleanField(label="Also fire when there are no requests", required=False)
    enabled = forms.BooleanField(label="On", required=False)

    def __init__(self, data: Any = None, *, metric: Metric, rule: AlertRule) -> None:
        self.rule, self._percent = rule, 100 if metric.unit == "percent" else 1
        initial = {name: getattr(rule, name) for name in alerts.COLUMNS}
        initial["limit"] = float(f"{rule.limit * self._percent:.8g}")
        initial |= {name: float(f"{initial[name] / 60:.4g}") for name in ("window_seconds", "for_seconds")}
        super().__init__(data, initial=initial, auto_id=f"id_{metric.key}_%s")
        unit = {"percent": " (%)", "ms": " (ms)"}.get(metric.unit, "")
        self.fields["limit"].label = f"{'Minimum' if metric.is_lower else 'Limit'}{unit}"
        unused = set() if metric.has_limit else {"limit", "window_seconds", "for_seconds"}
        unused |= {"limit", "window_seconds"} if metric.key == "replicas" else set()
        unused |= set() if metric.needs_requests else {"min_requests", "missing_fires"}
        for name in unused:
            del self.fields[name]

    def values(self) -> dict[str, Any]:
        """Column -> value; what the form does not have stays."""
        values = {name: getattr(self.rule, name) for name in alerts.COLUMNS} | self.cleaned_data
        if "limit" in self.cleaned_data:
            values["limit"] /= self._percent
        for name in {"window_seconds", "for_seconds"} & self.cleaned_data.keys():
            values[name] = round(values[name] * 60)
        return values


@require_safe
def monitoring(request: SignedInRequest, slug: str) -> HttpResponse:
    """The page. ``window``: 1h, 24h, 7d or 30d; ``version``: of one version only; ``edit``: the rule that is open."""
    project = project_for(request.user, slug, Action.READ)
    form = None
    if request.GET.get("edit") in METRICS and Action.DEPLOY in project.can and was_used(project):
        form = _rule_form(project, request.GET["edit"])
    return _render(request, project, form=form)


def _rule_form(project: Any, metric: str, data: Any = None) -> RuleForm:
    rule = next(rule for rule in alerts.rules_of(project) if rule.metric == metric)
    return RuleForm(data, metric=METRICS[metric], rule=rule)


@require_http_methods(["GET", "HEAD", "POST"])
def alert_rule(request: SignedInRequest, slug: str, metric: str) -> HttpResponse:
    """Changes a rule."""
    project = project_for(request.user, slug, Action.DEPLOY)
    if metric not in METRICS:
        raise Http404("There is no such alert.")
    address = reverse("deploy_monitoring", args=[slug])
    if request.method != "POST":
        return redirect_to(request, f"{address}?edit={metric}#alerts")
    form = _rule_form(project, metric, request.POST)
    if form.is_accepted(lambda: alerts.change(project=project, user=request.user, metric=metric, values=form.values())):
        messages.success(request, f"The alert {METRICS[metric].title} was saved.")
        return redirect_to(request, address)
    return _render(request, project, form=form, status=422)


def _render(request: SignedInRequest, project: Any, *, form: RuleForm | None, status: int = 200) -> HttpResponse:
    window = WINDOWS.get(request.GET.get("window", ""), WINDOWS["24h"])
    version = request.GET.get("version", "")
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 9 else None
    now = timezone.now()
    context: dict[str, Any] = {
        "project": project, "page": page(project, window, now, number), "windows": WINDOWS.values(),
        "firing": alerts.firing(project),
    }  # fmt: skip
    if is_htmx(request) and request.GET.get("part") == "figures":
        return render(request, f"{_TEMPLATE}#figures", context)
    checks = list(drift.checks(project).defer("findings")[: drift.MAX_CHECKS])
    context |= {
        "lines": alerts.lines(project) if was_used(project) else [],
        "form": form,
        "events": alerts.history(project),
        "checks": checks,
        "findings": drift.findings(checks[0]) if checks else [],
        "problem": drift.PROBLEMS.get(checks[0].problem) if checks else None,
        "drift": drift,
        "uses": usage.use_of_project(project, request.user),
        "days": usage.days(project, None),
        "resets_on": usage.resets_on(now.date()),
    }
    return render(request, _TEMPLATE, context, status=status)
