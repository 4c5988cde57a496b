"""The gates of a project: its policy in words, its reports, and judging an evaluation."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.approvals.decisions import Present, standing
from evaluation.gates.holdout.alpha_spending import upcoming
from evaluation.gates.holdout.sample_size import ANYBODY, TURN, missing_labels, queue_labels
from evaluation.gates.policy.definition import METRICS, GatePolicy
from evaluation.gates.policy.proposals import answered, open_proposals
from evaluation.gates.policy.services import history
from evaluation.gates.services import current_policy, make_report, next_look, rules, spent
from evaluation.http import is_fragment_request, page_or_fragment, redirect_to
from evaluation.models import GateReport
from evaluation.runs.forms import GateReportForm
from evaluation.stats import ALPHA, look_level
from labeling.models import DatasetVersion
from slmstudio.access import Action, Role, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

PAGE = 20


def may_judge(project: Any) -> bool:
    """Whoever runs evaluations and whoever decides on them may have one judged."""
    return bool({Action.RUN, Action.APPROVE} & project.can)


@require_safe
def gates(request: SignedInRequest, slug: str) -> HttpResponse:
    """The policy in words, and every report."""
    project = project_for(request.user, slug, Action.READ)
    policy = current_policy(project=project)
    reports = (
        GateReport.objects.filter(project=project)
        .select_related(
            "project",
            "policy",
            "approval__decided_by",
            "created_by",
            "eval_run__dataset__schema_version",
            "eval_run__base_model",
            "eval_run__model_version",
            "eval_run__training_run",
            "eval_run__endpoint",
            "eval_run__export",
            "eval_run__rescored_from",
            "baseline",
        )
        .order_by("-number")
    )
    page = Paginator(reports, PAGE).get_page(request.GET.get("page"))
    present = Present(project)
    present.policy = policy
    context = {
        "project": project,
        "policy": policy,
        "gates": rules(policy),
        **_levels(project, rules(policy)),
        "page": page,
        "rows": [(report, standing(report, present=present)) for report in page],
        "judge": GateReportForm(project=project) if may_judge(project) else None,
        "history": history(project),
        "proposals": open_proposals(project=project, policy=policy),
        "answered": answered(project=project, user=request.user) if Action.PROPOSE_POLICY in project.can else None,
        "may_set": Action.SET_POLICY in project.can,
        "may_propose": Action.PROPOSE_POLICY in project.can,
    }
    return render(request, "evaluation/gates/gates.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: SignedInRequest, slug: str) -> HttpResponse:
    """Judges an evaluation by the policy. ``?eval_run=3&baseline=1`` fill the form in beforehand."""
    project = project_for(request.user, slug, Action.READ)
    if not may_judge(project):
        mine, who = Role(project.role).label, ", ".join(str(r.label) for r in (Role.ENGINEER, Role.MANAGER, Role.OWNER))
        raise PermissionDenied(f"As {mine} you may not judge an evaluation. It takes one of: {who}.")
    if request.method != "POST":
        wanted = {name: request.GET[name] for name in GateReportForm.base_fields if name in request.GET}
        form = GateReportForm(project=project, initial=wanted)
        return render(
            request, "evaluation/gates/new_report.html", {"project": project, "form": form, **_look(project, form)}
        )
    form = GateReportForm(request.POST, project=project)
    if form.is_valid():
        try:
            report = make_report(user=request.user, **form.service_arguments())
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return redirect_to(request, report.get_absolute_url())
    return page_or_fragment(
        request, "evaluation/gates/new_report.html", "form", {"project": project, "form": form}, status=422
    )


def _levels(project: Any, policy: GatePolicy) -> dict[str, Any]:
    """Each gate with the confidence that it is judged at next, and which evaluation of the hold-out that is."""
    newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    look = upcoming(newest) if newest is not None else 1
    spends = {gate.key: METRICS[gate.metric].spends and not policy.only_look for gate in policy}
    levels = [
        (gate, 1 - look_level(look, round(1 - gate.confidence, 12)) if spends[gate.key] else gate.confidence)
        for gate in policy
    ]
    return {"levels": levels, "next_look": look}


def _look(project: Any, form: GateReportForm) -> dict[str, Any]:
    """Which look at its hold-out judging the chosen evaluation would be, and at what confidence (None: no error level
    is left for it), the least and the most where gates differ; {} where none is chosen."""
    run = form.runs.get(str(form.initial.get("eval_run", "")))
    if run is None:
        return {}
    current = current_policy(project=project)
    policy = rules(current)
    # Judged again as it was, as after a new measurement, it is the same look.
    baseline = form.runs.get(str(form.initial.get("baseline", "")))
    same = GateReport.objects.filter(policy=current, eval_run=run, baseline=baseline)
    made = same.order_by("-number").first()
    look = made.look if made is not None else next_look(run)
    if spent(run, policy, but=same) or (policy.only_look and look > 1):
        return {"look": look, "level": None}
    spending = [gate for gate in policy if METRICS[gate.metric].spends]
    alphas = sorted({round(1 - gate.confidence, 12) for gate in spending} or {ALPHA})
    levels = [1 - (alpha if policy.only_look else look_level(look, alpha)) for alpha in reversed(alphas)]
    return {"look": look, "level": levels[0], "highest": levels[-1] if len(levels) > 1 else None}


@require_POST
def queue(request: SignedInRequest, slug: str, number: int, key: str) -> HttpResponse:
    """Queues the labels that a verdict of a report lacks; answers with what is missing now."""
    reports = GateReport.objects.select_related("project", "policy", "eval_run__dataset__schema_version", "baseline")
    project, report = object_for(request.user, slug, Action.CURATE, reports, number=number)
    report.project = project
    context: dict[str, Any] = {"project": project, "report": report}
    status = 200
    try:
        grown = queue_labels(report=report, key=key, user=request.user, who=request.POST.get("who", TURN))
        context["grown"] = {"drawn": len(grown.documents), "pool": grown.pool, "near": len(grown.near)}
    except Refused as refusal:
        context["refused"], status = refusal.message, 422
    if not is_fragment_request(request) and status == 200:
        return redirect_to(request, f"{report.get_absolute_url()}#missing")
    context |= {"missing": missing_labels(report), "turn": TURN, "anybody": ANYBODY}
    return page_or_fragment(request, "evaluation/gates/missing_labels_page.html", "missing", context, status=status)
