"""New gate reports, and the labels that a gate needs."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_http_methods, require_POST

from evaluation.gates.forms import GateReportForm
from evaluation.gates.holdout import disclosure
from evaluation.gates.holdout.evaluation_numbers import exhausted_reason, next_evaluation_number
from evaluation.gates.holdout.sample_size import ANY_ANNOTATOR, ROUND_ROBIN, queue_labels, required_labels
from evaluation.gates.metrics import METRICS
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.services import current_policy, gates_of
from evaluation.gates.production import missing_evaluations, needs_production, production_of
from evaluation.gates.services import create_report
from evaluation.models import EvalRun, GatePolicy
from evaluation.stats import ALPHA, alpha_level
from labeling.datasets.queries import dataset_warnings
from slmstudio.access import Action, Role, project_for
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors, RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to


def can_create_report(project: Any) -> bool:
    """Whether a member can create gate reports: those who run evaluations and those who approve."""
    return bool({Action.RUN, Action.APPROVE} & project.can)


@require_http_methods(["GET", "HEAD", "POST"])
def new_report(request: SignedInRequest, slug: str) -> HttpResponse:
    """Creates a gate report. ``?eval_run=3&baseline=1`` preselect the evaluations."""
    project = project_for(request.user, slug, Action.READ)
    if not can_create_report(project):
        role = Role(project.role).label.lower()
        roles = ", ".join(str(role.label).lower() for role in (Role.ENGINEER, Role.MANAGER, Role.OWNER))
        raise PermissionDenied(f"Your role, {role}, cannot create gate reports. Required role: {roles}.")
    if request.method != "POST":
        initial = {name: request.GET[name] for name in GateReportForm.base_fields if name in request.GET}
        form = GateReportForm(project=project, initial=initial)
        form.select_defaults()
        context = {"project": project, "form": form, **_next_evaluation(project, form)}
        return page_or_fragment(request, "evaluation/gates/new_report.html", "form", context)
    form = GateReportForm(request.POST, project=project)
    if form.is_valid():
        with FieldErrors(form):
            report = create_report(user=request.user, **form.options())
            return redirect_to(request, report.get_absolute_url())
    context = {"project": project, "form": form}
    return page_or_fragment(request, "evaluation/gates/new_report.html", "form", context, status=422)


def _next_evaluation(project: Any, form: GateReportForm) -> dict[str, Any]:
    """Warnings about a report on the selected evaluation, what it would lack, and its price; {} without one."""
    run = form.initial_run("eval_run")
    if run is None:
        return {}
    current = current_policy(project=project)
    policy = gates_of(current)
    return {
        "dataset_warnings": dataset_warnings(run.dataset, {}),
        "missing": missing_evaluations(run, policy),
        **_price(run, form, current, policy),
    }


def _price(run: EvalRun, form: GateReportForm, current: GatePolicy, policy: GateSet) -> dict[str, Any]:
    """The number and confidence of the hold-out evaluation that a report would have. ``level``: the confidence, None
    where no alpha is left; ``highest`` where gates differ.
    """
    # A report that only follows a new measurement or a change of the regression suite has the same number.
    other = production_of(run).run if needs_production(policy) else None
    same = current.reports.filter(eval_run=run, baseline=form.initial_run("baseline"), production_run=other)
    existing = same.order_by("-number").first()
    number = existing.holdout_number if existing is not None else next_evaluation_number(run)
    if exhausted_reason(run, policy, but=same) or (policy.single_evaluation and number > 1):
        return {"holdout_number": number, "level": None}
    spending = [gate for gate in policy if METRICS[gate.metric].spends_alpha]
    alphas = sorted({round(1 - gate.confidence, 12) for gate in spending} or {ALPHA}, reverse=True)
    levels = [1 - (alpha if policy.single_evaluation else alpha_level(number, alpha)) for alpha in alphas]
    return {"holdout_number": number, "level": levels[0], "highest": levels[-1] if len(levels) > 1 else None}


@require_POST
def open_outputs(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Opens the single outputs of a hold-out evaluation, with a ``reason``."""
    project = project_for(request.user, slug, Action.PROPOSE_POLICY)
    run = get_object_or_404(project.eval_runs.select_related("dataset"), number=number)
    with RefusalMessage(request):
        disclosure.open_outputs(run=run, user=request.user, reason=request.POST.get("reason", ""))
    return redirect_to(request, f"{run.get_absolute_url()}#outputs")


@require_POST
def queue(request: SignedInRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Queues the labels that a gate needs; answers with what is missing then."""
    project = project_for(request.user, slug, Action.CURATE)
    reports = project.gate_reports.select_related("policy", "eval_run__dataset__schema_version", "baseline")
    report = get_object_or_404(reports, number=number)
    context: dict[str, Any] = {"project": project, "report": report}
    status = 200
    try:
        grown = queue_labels(report=report, key=key, user=request.user, who=request.POST.get("who", ROUND_ROBIN))
        context["grown"] = {"drawn": len(grown.documents), "pool": grown.pool, "near": len(grown.near)}
    except Refused as error:
        context["refused"], status = error.message, 422
    if not is_htmx(request) and status == 200:
        return redirect_to(request, f"{report.get_absolute_url()}#missing")
    context |= {"missing": required_labels(report), "turn": ROUND_ROBIN, "anybody": ANY_ANNOTATOR}
    return page_or_fragment(request, "evaluation/gates/required_labels_page.html", "missing", context, status=status)
