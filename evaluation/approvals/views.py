"""The page of one gate report: verdicts, evidence, packet, decision; and the report as a Markdown file."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from evaluation.approvals import decisions
from evaluation.approvals import report as approval_report
from evaluation.approvals.forms import DecisionForm, WithdrawalForm
from evaluation.approvals.report_markdown import report_markdown
from evaluation.gates import manifest
from evaluation.gates.policy.services import rules
from evaluation.http import is_fragment_request, page_or_fragment
from evaluation.models import GateReport
from evaluation.runs import resources
from evaluation.runs.resource_views import context_of
from slmstudio.access import Action, object_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest


@require_safe
def report(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A report, readable on a phone."""
    project, found = object_for(request.user, slug, Action.READ, approval_report.rows(), number=number)
    return render(request, "evaluation/approvals/report.html", _context(request, project, found))


def _context(
    request: SignedInRequest,
    project: Any,
    found: GateReport,
    form: DecisionForm | None = None,
    withdrawal: WithdrawalForm | None = None,
) -> dict[str, Any]:
    account = approval_report.account(found)
    obstacle = decisions.obstacle_for(found, request.user) if Action.APPROVE in project.can else ""
    may_decide = Action.APPROVE in project.can and account.approval is None and not obstacle
    may_withdraw = Action.APPROVE in project.can and account.approved and not account.withdrawn
    return {
        "project": project,
        **vars(account),
        **(context_of(account.run, found) if resources.tests_resources(rules(found.policy)) else {}),
        "void": account.void,
        "confidences": account.confidences,
        "rendered_at": timezone.now(),
        "address": request.build_absolute_uri(found.get_absolute_url()),
        "obstacle": obstacle,
        "may_decide": may_decide,
        "own_fresh_role": decisions.fresh_role(found, request.user) if may_decide else "",
        "changed": sum(not check.equal for check in account.checks),
        "form": form or (DecisionForm(report=found, user=request.user) if may_decide else None),
        "withdrawal": withdrawal or (WithdrawalForm(prefix="withdrawal") if may_withdraw else None),
    }


@require_safe
def verify(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Makes every hash of the packet anew from the files and rows; costly, so not for those who only read."""
    project, found = object_for(request.user, slug, Action.PROPOSE_POLICY, approval_report.rows(), number=number)
    checks = manifest.verify(found)
    changed = sum(not check.equal for check in checks)
    context = {"project": project, "report": found, "checks": checks, "verified": timezone.now(), "changed": changed}
    if is_fragment_request(request):
        return render(request, "evaluation/approvals/report.html#packet", context)
    return render(request, "evaluation/approvals/report.html", {**_context(request, project, found), **context})


@require_POST
def decide(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Approves a report or sends it back."""
    project, found = object_for(request.user, slug, Action.APPROVE, approval_report.rows(), number=number)
    form = DecisionForm(request.POST, report=found, user=request.user)
    if form.is_valid():
        wanted = form.cleaned_data
        try:
            decisions.decide(
                report=found,
                user=request.user,
                decision=wanted["decision"],
                reason=wanted["reason"],
                waiver=form.waivers(),
            )
        except Refused as refusal:
            form.refuse(refusal.field, refusal.message)
        else:
            if is_fragment_request(request):
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect(found.get_absolute_url())
    return page_or_fragment(
        request, "evaluation/approvals/report.html", "decision", _context(request, project, found, form), status=422
    )


@require_POST
def withdraw(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Takes an approval back."""
    project, found = object_for(request.user, slug, Action.APPROVE, approval_report.rows(), number=number)
    form = WithdrawalForm(request.POST, prefix="withdrawal")
    if form.is_valid():
        try:
            decisions.withdraw(report=found, user=request.user, reason=form.cleaned_data["reason"])
        except Refused as refusal:
            form.add_error("reason", refusal.message)
        else:
            if is_fragment_request(request):
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
    """The former address of the report as PDF: its page, which the browser prints."""
    _, found = object_for(request.user, slug, Action.READ, approval_report.rows(), number=number)
    return redirect(found.get_absolute_url())


@require_safe
def report_file(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The report as a Markdown file, as of now."""
    project, found = object_for(request.user, slug, Action.READ, approval_report.rows(), number=number)
    address = request.build_absolute_uri(found.get_absolute_url())
    text = report_markdown(approval_report.account(found), address=address, by=request.user, at=timezone.now())
    name = f"{project.slug}-gate-report-{found.number}.md"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=headers)
