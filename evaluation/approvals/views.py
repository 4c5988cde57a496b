"""The page of a gate report, its decision, and its Markdown file."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from evaluation.approvals import decisions
from evaluation.approvals.actions import ReportAction, report_actions
from evaluation.approvals.forms import DecisionForm, WithdrawalForm
from evaluation.approvals.report import report_content
from evaluation.approvals.report_markdown import report_markdown
from evaluation.gates import manifest
from evaluation.gates.gather import tests_source
from evaluation.gates.metrics.findings import Status
from evaluation.gates.metrics.metric import Source
from evaluation.gates.missing_evaluations import MissingEvaluation, missing_evaluations
from evaluation.gates.policy.services import gates_of
from evaluation.models import GateReport
from evaluation.runs.resource_views import context_of
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment


@require_safe
def report(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The page of a report."""
    project, found = object_for(request.user, slug, Action.READ, GateReport.objects.with_content(), number=number)
    return render(request, "evaluation/approvals/report.html", _context(request, project, found))


def _context(
    request: SignedInRequest,
    project: Any,
    found: GateReport,
    form: DecisionForm | None = None,
    withdrawal: WithdrawalForm | None = None,
) -> dict[str, Any]:
    content = report_content(found)
    obstacle = decisions.decision_obstacle(found, request.user) if Action.APPROVE in project.can else ""
    may_decide = Action.APPROVE in project.can and content.approval is None and not obstacle
    may_withdraw = Action.APPROVE in project.can and content.approved and not content.withdrawn
    return {
        "project": project,
        **vars(content),
        **(context_of(content.run, found) if tests_source(gates_of(found.policy), Source.RESOURCES) else {}),
        "void": content.void,
        "confidences": content.confidences,
        "rendered_at": timezone.now(),
        "address": request.build_absolute_uri(found.get_absolute_url()),
        "obstacle": obstacle,
        "may_decide": may_decide,
        "own_recent_role": decisions.recent_role(found, request.user) if may_decide else "",
        "changed": sum(not check.equal for check in content.checks),
        "actions": _actions(request, found) if content.approved and not content.void else [],
        "form": form or (DecisionForm(report=found, user=request.user) if may_decide else None),
        "lacking": _lacking(project, found) if content.approval is None else [],
        "withdrawal": withdrawal or (WithdrawalForm(prefix="withdrawal") if may_withdraw else None),
    }


def _lacking(project: Any, found: GateReport) -> list[MissingEvaluation]:
    """The evaluations that its gates still need, for who can start them."""
    is_open = any(row["status"] == Status.NOT_PROVEN for row in found.verdicts)
    return missing_evaluations(found.eval_run, gates_of(found.policy)) if is_open and Action.RUN in project.can else []


def _actions(request: SignedInRequest, found: GateReport) -> list[ReportAction]:
    return [action for action in report_actions.call(found, request.user) if action is not None]


@require_safe
def recompute(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Recomputes the hashes of the manifest from files and rows; slow, so not for every member."""
    project, found = object_for(
        request.user, slug, Action.PROPOSE_POLICY, GateReport.objects.with_content(), number=number
    )
    checks = manifest.verify(found)
    changed = sum(not check.equal for check in checks)
    context = {"project": project, "report": found, "checks": checks, "verified": timezone.now(), "changed": changed}
    if is_htmx(request):
        return render(request, "evaluation/approvals/report.html#manifest", context)
    return render(request, "evaluation/approvals/report.html", {**_context(request, project, found), **context})


@require_POST
def decide(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Approves or rejects a report."""
    project, found = object_for(request.user, slug, Action.APPROVE, GateReport.objects.with_content(), number=number)
    form = DecisionForm(request.POST, report=found, user=request.user)
    if form.is_valid():
        data = form.cleaned_data
        try:
            decisions.decide(
                report=found,
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
            return redirect(found.get_absolute_url())
    return page_or_fragment(
        request, "evaluation/approvals/report.html", "decision", _context(request, project, found, form), status=422
    )


@require_POST
def withdraw(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Withdraws an approval."""
    project, found = object_for(request.user, slug, Action.APPROVE, GateReport.objects.with_content(), number=number)
    form = WithdrawalForm(request.POST, prefix="withdrawal")
    if form.is_valid():
        try:
            decisions.withdraw(report=found, user=request.user, reason=form.cleaned_data["reason"])
        except Refused as error:
            form.add_error("reason", error.message)
        else:
            if is_htmx(request):
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect(found.get_absolute_url())
    return page_or_fragment(
        request,
        "evaluation/approvals/report.html",
        "decision",
        _context(request, project, found, withdrawal=form),
        status=422,
    )


@require_safe
def report_pdf(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The former URL of the PDF: redirects to the page, which the browser prints."""
    _, found = object_for(request.user, slug, Action.READ, GateReport.objects.with_content(), number=number)
    return redirect(found.get_absolute_url())


@require_safe
def report_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The current report as a Markdown file."""
    project, found = object_for(request.user, slug, Action.READ, GateReport.objects.with_content(), number=number)
    address = request.build_absolute_uri(found.get_absolute_url())
    text = report_markdown(report_content(found, with_bundle=True), address=address, by=request.user, at=timezone.now())
    name = f"{project.slug}-gate-report-{found.number}.md"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=headers)
