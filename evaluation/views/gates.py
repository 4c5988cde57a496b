"""The gates of a project: its policy, its reports, and judging an evaluation."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from evaluation.forms import JudgeForm, PolicyForm
from evaluation.models import GateReport
from evaluation.services.approvals import Present, standing
from evaluation.services.gates import current_policy, make_report, rules, set_policy
from evaluation.views.parts import go, page_or_part
from slmstudio.access import Action, Role, project_for
from training.services.runs import Refused

PAGE = 20


def may_judge(project: Any) -> bool:
    """Whoever runs evaluations and whoever decides on them may have one judged."""
    return bool({Action.RUN, Action.APPROVE} & project.can)


@require_safe
def gates(request: HttpRequest, slug: str) -> HttpResponse:
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
        "page": page,
        "rows": [(report, standing(report, present=present)) for report in page],
        "judge": JudgeForm(project=project) if may_judge(project) else None,
        "form": PolicyForm(policy=rules(policy)) if Action.SET_POLICY in project.can else None,
    }
    return render(request, "evaluation/gates.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
def policy(request: HttpRequest, slug: str) -> HttpResponse:
    """Sets the thresholds. GET shows the form on its own."""
    project = project_for(request.user, slug, Action.SET_POLICY)
    newest = current_policy(project=project)
    form = PolicyForm(request.POST if request.method == "POST" else None, policy=rules(newest))
    if request.method == "POST" and form.is_valid():
        set_policy(project=project, user=request.user, gates=form.cleaned_data["policy"])
        return go(request, f"/p/{project.slug}/gates/")
    context = {"project": project, "policy": newest, "form": form}
    status = 422 if form.is_bound else 200
    return page_or_part(request, "evaluation/policy.html", "form", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: HttpRequest, slug: str) -> HttpResponse:
    """Judges an evaluation by the policy. ``?eval_run=3&baseline=1`` fill the form in beforehand."""
    project = project_for(request.user, slug, Action.READ)
    if not may_judge(project):
        mine, who = Role(project.role).label, ", ".join(str(r.label) for r in (Role.ENGINEER, Role.MANAGER, Role.OWNER))
        raise PermissionDenied(f"As {mine} you may not judge an evaluation. It takes one of: {who}.")
    if request.method != "POST":
        wanted = {name: request.GET[name] for name in JudgeForm.base_fields if name in request.GET}
        form = JudgeForm(project=project, initial=wanted)
        return render(request, "evaluation/judge.html", {"project": project, "form": form})
    form = JudgeForm(request.POST, project=project)
    if form.is_valid():
        try:
            report = make_report(user=request.user, **form.order())
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return go(request, report.get_absolute_url())
    return page_or_part(request, "evaluation/judge.html", "form", {"project": project, "form": form}, status=422)
