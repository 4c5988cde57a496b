"""The pages of gate reports: their list with the policy, and one with its decision and its Markdown file."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from evaluation.approvals import decisions
from evaluation.approvals.decisions import CurrentState, ReportAction, decision_status, report_actions
from evaluation.approvals.forms import DecisionForm, WithdrawalForm
from evaluation.approvals.report import report_content, report_markdown
from evaluation.gates.facts import tests_source
from evaluation.gates.forms import GateReportForm
from evaluation.gates.holdout.evaluation_numbers import upcoming_number
from evaluation.gates.metrics import METRICS
from evaluation.gates.metrics.metric import Source, VerdictStatus
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.proposals import open_proposals, recently_answered
from evaluation.gates.policy.services import current_policy, gates_of, history
from evaluation.gates.prerequisites import prerequisites
from evaluation.gates.production import MissingEvaluation, missing_evaluations
from evaluation.gates.views import can_create_report
from evaluation.models import GateReport
from evaluation.runs.views import context_of
from evaluation.stats import alpha_level
from slmstudio.access import Action, project_for
from slmstudio.accounts.step_up import step_up
from slmstudio.errors import Refused
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to


def _report_of(request: SignedInRequest, slug: str, number: int, action: Action) -> tuple[Any, GateReport]:
    project = project_for(request.user, slug, action)
    report = get_object_or_404(project.gate_reports.with_content(), number=number)
    report.project = project  # it knows the member's role
    return project, report


@require_safe
def report(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The page of a report."""
    project, gate_report = _report_of(request, slug, number, Action.READ)
    return render(request, "evaluation/approvals/report.html", _context(request, project, gate_report))


def _context(
    request: SignedInRequest,
    project: Any,
    report: GateReport,
    form: DecisionForm | None = None,
    withdrawal: WithdrawalForm | None = None,
) -> dict[str, Any]:
    content = report_content(report)
    obstacle = decisions.decision_obstacle(report, request.user) if Action.APPROVE in project.can else ""
    may_decide = Action.APPROVE in project.can and content["approval"] is None and not obstacle
    may_withdraw = Action.APPROVE in project.can and content["approved"] and not content["withdrawn"]
    awaits = content["unconfirmed"] and not content["withdrawn"]
    return {
        "project": project,
        **content,
        **(context_of(content["run"], report) if tests_source(gates_of(report.policy), Source.RESOURCES) else {}),
        "rendered_at": timezone.now(),
        "address": request.build_absolute_uri(report.get_absolute_url()),
        "obstacle": obstacle,
        "deciders": decisions.deciders(report) if content["approval"] is None else [],
        "may_decide": may_decide,
        "own_recent_role": decisions.recent_role(report, request.user) if may_decide else "",
        "changed": sum(not check.equal for check in content["checks"]),
        "actions": _actions(request, report) if content["approved"] else [],
        "form": form or (DecisionForm(report=report, user=request.user) if may_decide else None),
        "lacking": _lacking(project, report) if content["approval"] is None else [],
        "awaits_confirmation": awaits,
        "may_confirm": awaits and Action.SET_POLICY in project.can and content["approval"].decided_by != request.user,
        "withdrawal": withdrawal or (WithdrawalForm(prefix="withdrawal") if may_withdraw else None),
    }


def _lacking(project: Any, report: GateReport) -> list[MissingEvaluation]:
    """The evaluations that its gates still need, for who can start them."""
    is_open = any(row["status"] == VerdictStatus.NOT_PROVEN for row in report.verdicts)
    return (
        missing_evaluations(report.eval_run, gates_of(report.policy)) if is_open and Action.RUN in project.can else []
    )


def _actions(request: SignedInRequest, report: GateReport) -> list[ReportAction]:
    return [action for action in report_actions.call(report, request.user) if action is not None]


@require_safe
def recompute(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Recomputes the hashes of the manifest from files and rows; slow, so not for every member."""
    project, gate_report = _report_of(request, slug, number, Action.PROPOSE_POLICY)
    checks = decisions.manifest_checks(gate_report)
    changed = sum(not check.equal for check in checks)
    context = {
        "project": project,
        "report": gate_report,
        "checks": checks,
        "verified": timezone.now(),
        "changed": changed,
    }
    if is_htmx(request):
        return render(request, "evaluation/approvals/report.html#manifest", context)
    return render(request, "evaluation/approvals/report.html", {**_context(request, project, gate_report), **context})


@require_POST
@step_up
def decide(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Approves or rejects a report."""
    project, report = _report_of(request, slug, number, Action.APPROVE)
    form = DecisionForm(request.POST, report=report, user=request.user)
    if form.is_valid():
        data = form.cleaned_data
        try:
            decisions.decide(
                report=report,
                user=request.user,
                decision=data["decision"],
                reason=data["reason"],
                waiver=form.waivers(),
            )
        except Refused as error:
            form.add_service_error(error.field, error.message)
        else:
            if is_htmx(request):
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect(report.get_absolute_url())
    return page_or_fragment(
        request, "evaluation/approvals/report.html", "decision", _context(request, project, report, form), status=422
    )


@require_POST
def withdraw(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Withdraws an approval."""
    project, report = _report_of(request, slug, number, Action.APPROVE)
    form = WithdrawalForm(request.POST, prefix="withdrawal")
    if form.is_valid():
        with FieldErrors(form, {"withdrawal": "reason"}):
            decisions.withdraw(report=report, user=request.user, reason=form.cleaned_data["reason"])
            if is_htmx(request):
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect(report.get_absolute_url())
    return page_or_fragment(
        request,
        "evaluation/approvals/report.html",
        "decision",
        _context(request, project, report, withdrawal=form),
        status=422,
    )


@require_POST
@step_up
def confirm(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Confirms the waivers of an approval as its second person."""
    project, report = _report_of(request, slug, number, Action.SET_POLICY)
    try:
        decisions.confirm_waivers(report=report, user=request.user)
    except Refused as error:
        context = {**_context(request, project, report), "confirmation_error": error.message}
        return page_or_fragment(request, "evaluation/approvals/report.html", "decision", context, status=422)
    return redirect_to(request, report.get_absolute_url())


@require_safe
def report_pdf(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The former URL of the PDF: redirects to the page, which the browser prints."""
    _, report = _report_of(request, slug, number, Action.READ)
    return redirect(report.get_absolute_url())


@require_safe
def report_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The current report as a Markdown file."""
    project, report = _report_of(request, slug, number, Action.READ)
    address = request.build_absolute_uri(report.get_absolute_url())
    text = report_markdown(
        report_content(report, with_bundle=True), address=address, by=request.user, at=timezone.now()
    )
    name = f"{project.slug}-gate-report-{report.number}.md"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=headers)


PAGE_SIZE = 20


@require_safe
def gates(request: SignedInRequest, slug: str) -> HttpResponse:
    """The gate policy and all gate reports."""
    project = project_for(request.user, slug, Action.READ)
    policy = current_policy(project=project)
    page = Paginator(project.gate_reports.for_list(project), PAGE_SIZE).get_page(request.GET.get("page"))
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


def _levels(project: Any, policy: GateSet) -> dict[str, Any]:
    """Each gate with its confidence at the next hold-out evaluation, and the number of that evaluation."""
    number = upcoming_number(project)
    levels = []
    for gate in policy:
        spends = METRICS[gate.metric].spends_alpha and not policy.single_evaluation
        alpha = round(1 - gate.confidence, 12)
        levels.append((gate, 1 - alpha_level(number, alpha) if spends else gate.confidence))
    return {"levels": levels, "next_holdout_number": number}
