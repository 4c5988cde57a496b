"""The gates page of a project: its policy, and its gate reports with their decisions."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from evaluation.approvals.decisions import CurrentState, decision_status
from evaluation.gates.forms import GateReportForm
from evaluation.gates.holdout.alpha_spending import upcoming_number
from evaluation.gates.metrics import METRICS
from evaluation.gates.policy.definition import GatePolicy
from evaluation.gates.policy.proposals import open_proposals, recently_answered
from evaluation.gates.policy.services import current_policy, gates_of, history
from evaluation.gates.prerequisites import prerequisites
from evaluation.gates.views import can_create_report
from evaluation.models import GateReport
from evaluation.stats import alpha_level
from slmstudio.access import Action, project_for
from slmstudio.web.requests import SignedInRequest

PAGE_SIZE = 20


@require_safe
def gates(request: SignedInRequest, slug: str) -> HttpResponse:
    """The gate policy and all gate reports."""
    project = project_for(request.user, slug, Action.READ)
    policy = current_policy(project=project)
    page = Paginator(GateReport.objects.for_list(project), PAGE_SIZE).get_page(request.GET.get("page"))
    current_state = CurrentState(project)
    current_state.policy = policy
    gates = gates_of(policy)
    context = {
        "project": project,
        "policy": policy,
        "gates": gates,
        **_levels(project, gates),
        "page": page,
        "rows": [(report, decision_status(report, current=current_state)) for report in page],
        "new_report": GateReportForm(project=project) if can_create_report(project) else None,
        "prerequisites": None if page.paginator.count else prerequisites(project),
        "history": history(project),
        "proposals": open_proposals(project=project, policy=policy),
        "answered": recently_answered(project=project, user=request.user)
        if Action.PROPOSE_POLICY in project.can
        else None,
        "may_set": Action.SET_POLICY in project.can,
        "may_propose": Action.PROPOSE_POLICY in project.can,
    }
    return render(request, "evaluation/gates/gates.html", context)


def _levels(project: Any, policy: GatePolicy) -> dict[str, Any]:
    """Each gate with its confidence at the next hold-out evaluation, and the number of that evaluation."""
    number = upcoming_number(project)
    levels = []
    for gate in policy:
        spends = METRICS[gate.metric].spends_alpha and not policy.single_evaluation
        alpha = round(1 - gate.confidence, 12)
        levels.append((gate, 1 - alpha_level(number, alpha) if spends else gate.confidence))
    return {"levels": levels, "next_holdout_number": number}
