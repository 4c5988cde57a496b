"""Gate reports over REST: create one, read its verdicts, decide on it."""

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from evaluation.api.schemas import (
    DecisionIn,
    GateReportIn,
    GateReportOut,
    GateReportRowOut,
    WaiverIn,
    WithdrawalIn,
)
from evaluation.approvals import decisions
from evaluation.approvals.waivers import Waiver, open_gates, waivers_of
from evaluation.gates.baselines import default_baseline
from evaluation.gates.checks import GateOutcome, junit_xml, outcome_of, run_gates
from evaluation.gates.display import exit_code, overall
from evaluation.gates.policy.definition import GateError, GateSet
from evaluation.models import Approval, EvalRun, GateReport
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import field_problem
from labeling.api.schemas import Before, Page, page

router = Router(tags=["gates"])
XML = "application/xml"
Form = Literal["json", "junit"]
_FORM: Any = Query("json", alias="format", description="junit: the gates as a JUnit file")  # type: ignore[type-arg]


@router.get("", summary="List gate reports", operation_id="gate_reports", **operation("read", Page[GateReportRowOut]))
def reports(request: HttpRequest, slug: Slug, before: Before = None) -> Any:
    """The gate reports of the project, newest first, fifty per page."""
    project = project_of(request)
    listed = page(project.gate_reports.for_list(project), before)
    current = decisions.CurrentState(project)
    return listed | {"items": [_row(report, current) for report in listed["items"]]}


@router.post(
    "",
    summary="Create a gate report",
    operation_id="create_gate_report",
    **operation("evaluate", GateReportOut, 400, 409, files=(XML,)),
)
def create(request: HttpRequest, response: HttpResponse, slug: Slug, body: GateReportIn, form: Form = _FORM) -> Any:
    """Tests the gates of a finished evaluation. On the hold-out it creates the gate report, or returns the one with the
    same verdicts. On validation it is a check: not stored, without cost, and cannot be approved.

    The headers `SLM-Verdict` and `SLM-Exit-Code` (0 PASS, 1 FAIL, 2 NOT PROVEN) have the result in both formats.
    """
    project = project_of(request)
    run = _evaluation(project, body.evaluation, "evaluation")
    try:
        gates = None if body.gates is None else GateSet.from_json(body.gates)
    except GateError as error:
        raise field_problem("gates", str(error)) from error
    baseline = _baseline(project, run, body)
    outcome = run_gates(eval_run=run, baseline=baseline, user=caller(request).user, gates=gates)
    if outcome.report is not None:
        outcome = outcome_of(_read(request, outcome.report.number))
    return _response(outcome, form, response)


def _baseline(project: Any, run: EvalRun, body: GateReportIn) -> EvalRun | None:
    if body.baseline is not None:
        return _evaluation(project, body.baseline, "baseline")
    return None if "baseline" in body.model_fields_set else default_baseline(run)


def _evaluation(project: Any, number: int, field: str) -> EvalRun:
    run: EvalRun | None = project.eval_runs.numbered(number)
    if run is None:
        raise field_problem(field, f"Evaluation {number} not found.")
    return run


def _read(request: HttpRequest, number: int) -> GateReport:
    report: GateReport = object_of(request, project_of(request).gate_reports.with_content(), number=number)
    return report


@router.get(
    "/{int:number}",
    summary="Get a gate report",
    operation_id="gate_report",
    **operation("read", GateReportOut, files=(XML,)),
)
def report(request: HttpRequest, response: HttpResponse, slug: Slug, number: int, form: Form = _FORM) -> Any:
    """The verdict of each gate, and the decision. The headers are those of the operation that creates it."""
    return _response(outcome_of(_read(request, number)), form, response)


@router.post(
    "/{int:number}/decision",
    summary="Approve or reject a gate report",
    operation_id="decide_gate_report",
    **operation("approve", GateReportOut, 400, 409),
)
def decide(request: HttpRequest, slug: Slug, number: int, body: DecisionIn) -> Any:
    """Records the decision of the token's member, who must be a manager, on a report without a decision.

    403 with the code `own_involvement`: the member was involved in work that the report rests on, and the project
    requires another manager. 409: `decided`, or `changed`, with what changed since the report. 422: the reason is
    missing, or a gate that does not pass has no waiver; `errors` names the field.
    """
    report = _read(request, number)
    decisions.decide(
        report=report, user=caller(request).user, decision=body.decision, reason=body.reason,
        waiver=_waivers(report, body.waivers),
    )  # fmt: skip
    return _report(_read(request, number))


def _waivers(report: GateReport, sent: list[WaiverIn]) -> dict[str, Waiver]:
    """The waivers by gate; one of a gate takes precedence over one of all."""
    keys = [gate["key"] for gate in open_gates(report)]
    waivers: dict[str, Waiver] = {}
    for waiver in sorted(sent, key=lambda waiver: waiver.gate is not None):
        if waiver.gate is not None and waiver.gate not in keys:
            raise field_problem("waivers", f"Gate {waiver.gate} does not exist or does not need a waiver.")
        waivers.update(
            dict.fromkeys(
                keys if waiver.gate is None else [waiver.gate], Waiver(waiver.reason, waiver.expires, waiver.owner)
            )
        )
    return waivers


@router.post(
    "/{int:number}/withdrawal",
    summary="Withdraw an approval",
    operation_id="withdraw_approval",
    **operation("approve", GateReportOut, 400, 409),
)
def withdraw(request: HttpRequest, slug: Slug, number: int, body: WithdrawalIn) -> Any:
    """Withdraws an approval, which is void from then on. 409: the report is not approved, or it was withdrawn."""
    report = _read(request, number)
    decisions.withdraw(report=report, user=caller(request).user, reason=body.reason)
    return _report(_read(request, number))


@router.post(
    "/{int:number}/confirmation",
    summary="Confirm the waivers of an approval",
    operation_id="confirm_waivers",
    **operation("approve", GateReportOut, 400, 409),
)
def confirm(request: HttpRequest, slug: Slug, number: int) -> Any:
    """Confirms, as another manager than the one who approved, the waivers of an approval; with four-eyes review it is
    not valid before. 403 with the code `own_involvement`: the member approved it. 409 `not_waived`: nothing to confirm.
    """
    decisions.confirm_waivers(report=_read(request, number), user=caller(request).user)
    return _report(_read(request, number))


# -- responses ---------------------------------------------------------------------------------------------------------


def _row(report: GateReport, current: decisions.CurrentState) -> dict[str, Any]:
    verdict = overall(report.verdicts)
    return {
        "report": report.number,
        "evaluation": report.eval_run.number,
        "model": report.eval_run.model_label,
        "verdict": str(verdict),
        "code": int(exit_code(verdict)),
        "sentence": report.sentence,
        "state": _state(report, _void(report, current)),
        "url": report.get_absolute_url(),
        "created_at": report.created_at,
    }


def _void(report: GateReport, current: decisions.CurrentState | None = None) -> list[str]:
    """Why the approval of a report is void; empty without one."""
    approval = getattr(report, "approval", None)
    if approval is None or approval.decision != Approval.Decision.APPROVED:
        return []
    approval.report = report
    return decisions.void_reasons(approval, files=False, current=current)


def _state(report: GateReport, void: list[str]) -> str:
    approval = getattr(report, "approval", None)
    if approval is None:
        return "pending"
    if void == [decisions.UNCONFIRMED]:
        return "unconfirmed"
    return "void" if void else str(approval.decision)


def _report(report: GateReport) -> dict[str, Any]:
    """A stored report with its decision."""
    void = _void(report)
    approval = getattr(report, "approval", None)
    return {
        **outcome_of(report).as_dict(),
        "state": _state(report, void),
        "decision": approval
        and {
            "decision": approval.decision,
            "reason": approval.reason,
            "by": approval.decided_by.get_username(),
            "at": approval.decided_at,
            "waivers": waivers_of(approval),
            "void": void,
            "manifest_sha256": approval.manifest_sha256,
        },
        "evidence": f"/api/v1/projects/{report.project.slug}/evidence/{report.number}",
    }


def _response(outcome: GateOutcome, form: str, response: HttpResponse) -> Any:
    """The outcome in a format, with its verdict and exit code as headers, for programs that read no JSON."""
    headers = {"SLM-Verdict": str(outcome.status), "SLM-Exit-Code": str(int(exit_code(outcome.status)))}
    if form == "junit":
        headers["Content-Disposition"] = 'attachment; filename="gates.xml"'
        return HttpResponse(junit_xml(outcome), content_type=f"{XML}; charset=utf-8", headers=headers)
    for name, value in headers.items():
        response[name] = value
    return outcome.as_dict() if outcome.report is None else _report(outcome.report)
