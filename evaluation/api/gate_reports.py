"""Gate reports over REST: create one, read its verdicts, decide on it."""

from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from evaluation.api.schemas import (
    DecisionIn,
    GateReportIn,
    GateReportOut,
    GateReportsOut,
    WaiverIn,
    WithdrawalIn,
)
from evaluation.approvals import decisions
from evaluation.approvals.waivers import Waiver, open_gates, waivers_of
from evaluation.gates.baselines import default_baseline
from evaluation.gates.checks import GateOutcome, outcome_of, run_gates
from evaluation.gates.junit import junit_xml
from evaluation.gates.outcome import exit_code, overall
from evaluation.gates.policy.definition import GateError
from evaluation.gates.policy.definition import GatePolicy as Gates
from evaluation.models import Approval, EvalRun, GateReport
from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import field_problem, refusal_problem
from labeling.api.wire import answer, at
from labeling.models import Project
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["gates"])
PER_PAGE = 50
XML = "application/xml"
Form = Literal["json", "junit"]
_FORM: Any = Query("json", alias="format", description="junit: the gates as a JUnit file")  # type: ignore[type-arg]
#: statuses of refusals by their code; the others are about a field of the request
_STATUS = {
    **dict.fromkeys(("not_finished", "decided", "changed", "model_changed", "not_approved", "withdrawn"), 409),
    "own_involvement": 403,
}
#: fields of the services -> of the requests
_FIELDS = {"eval_run": "evaluation", "withdrawal": ""}


@router.get("", summary="List gate reports", operation_id="gate_reports", **operation("read", GateReportsOut))
def reports(
    request: HttpRequest,
    slug: Slug,
    before: int | None = Query(None, ge=1, lt=2**63),  # type: ignore[type-arg]
) -> HttpResponse:
    """The gate reports of the project, newest first, fifty per page."""
    project = project_of(request)
    found = page(GateReport.objects.for_list(project), after=before, newest=True, size=PER_PAGE)
    current = decisions.CurrentState(project)
    return answer({"items": [_row(report, current) for report in found.rows], "next_before": found.after})


@router.post(
    "",
    summary="Create a gate report",
    operation_id="create_gate_report",
    **operation("evaluate", GateReportOut, 400, 409, files=(XML,)),
)
def create(request: HttpRequest, slug: Slug, body: GateReportIn, form: Form = _FORM) -> HttpResponse:
    """Tests the gates of a finished evaluation. On the hold-out it creates the gate report, or returns the one with the
    same verdicts. On validation it is a check: not stored, without cost, and cannot be approved.

    The headers `SLM-Verdict` and `SLM-Exit-Code` (0 PASS, 1 FAIL, 2 NOT PROVEN) have the result in both formats.
    """
    project = project_of(request)
    run = _evaluation(project, body.evaluation, "evaluation")
    try:
        gates = None if body.gates is None else Gates.from_json(body.gates)
    except GateError as error:
        raise field_problem("gates", str(error)) from error
    try:
        baseline = _baseline(project, run, body)
        outcome = run_gates(eval_run=run, baseline=baseline, user=caller(request).user, gates=gates)
    except Refused as refusal:
        raise _problem(refusal) from refusal
    if outcome.report is not None:
        outcome = outcome_of(GateReport.objects.with_content().get(pk=outcome.report.pk))
    return _response(outcome, form)


def _baseline(project: Project, run: EvalRun, body: GateReportIn) -> EvalRun | None:
    if body.baseline is not None:
        return _evaluation(project, body.baseline, "baseline")
    return None if "baseline" in body.model_fields_set else default_baseline(run)


def _evaluation(project: Project, number: int, field: str) -> EvalRun:
    rows = EvalRun.objects.with_model().select_related("dataset__schema_version", "rescored_from")
    found: EvalRun | None = rows.filter(project=project, number=number).first()
    if found is None:
        raise field_problem(field, f"Evaluation {number} not found.")
    found.project = project
    return found


@router.get(
    "/{int:number}",
    summary="Get a gate report",
    operation_id="gate_report",
    **operation("read", GateReportOut, files=(XML,)),
)
def report(request: HttpRequest, slug: Slug, number: int, form: Form = _FORM) -> HttpResponse:
    """The verdict of each gate, and the decision. The headers are those of the operation that creates it."""
    return _response(outcome_of(object_of(request, GateReport.objects.with_content(), number=number)), form)


@router.post(
    "/{int:number}/decision",
    summary="Approve or reject a gate report",
    operation_id="decide_gate_report",
    **operation("approve", GateReportOut, 400, 409),
)
def decide(request: HttpRequest, slug: Slug, number: int, body: DecisionIn) -> HttpResponse:
    """Records the decision of the token's member, who must be a manager, on a report without a decision.

    403 with the code `own_involvement`: the member started or resumed work that the report rests on, and the project
    requires another manager. 409: `decided`, or `changed`, with what changed since the report. 422: the reason is
    missing, or a gate that does not pass has no waiver; `errors` names the field.
    """
    found = object_of(request, GateReport.objects.with_content(), number=number)
    try:
        decisions.decide(
            report=found, user=caller(request).user, decision=body.decision, reason=body.reason,
            waiver=_waivers(found, body.waivers),
        )  # fmt: skip
    except Refused as refusal:
        raise _problem(refusal) from refusal
    return answer(_report(GateReport.objects.with_content().get(pk=found.pk)))


def _waivers(found: GateReport, sent: list[WaiverIn]) -> dict[str, Waiver]:
    """The waivers by gate; one of a gate takes precedence over one of all."""
    keys = [gate["key"] for gate in open_gates(found)]
    waivers: dict[str, Waiver] = {}
    for one in sorted(sent, key=lambda one: one.gate is not None):
        if one.gate is not None and one.gate not in keys:
            raise field_problem("waivers", f"Gate {one.gate} does not exist or does not need a waiver.")
        waivers.update(
            dict.fromkeys(keys if one.gate is None else [one.gate], Waiver(one.reason, one.expires, one.owner))
        )
    return waivers


@router.post(
    "/{int:number}/withdrawal",
    summary="Withdraw an approval",
    operation_id="withdraw_approval",
    **operation("approve", GateReportOut, 400, 409),
)
def withdraw(request: HttpRequest, slug: Slug, number: int, body: WithdrawalIn) -> HttpResponse:
    """Withdraws an approval, which is void from then on. 409: the report is not approved, or it was withdrawn."""
    found = object_of(request, GateReport.objects.with_content(), number=number)
    try:
        decisions.withdraw(report=found, user=caller(request).user, reason=body.reason)
    except Refused as refusal:
        raise _problem(refusal) from refusal
    return answer(_report(GateReport.objects.with_content().get(pk=found.pk)))


def _problem(refusal: Refused) -> Any:
    errors = {_FIELDS.get(name, name): text for name, text in refusal.errors.items()}
    return refusal_problem(Refused(refusal.message, code=refusal.code, errors=errors), _STATUS)


# -- responses ---------------------------------------------------------------------------------------------------------


def _row(found: GateReport, current: decisions.CurrentState) -> dict[str, Any]:
    verdict = overall(found.verdicts)
    approval = getattr(found, "approval", None)
    return {
        "report": found.number,
        "evaluation": found.eval_run.number,
        "model": found.eval_run.model_label,
        "verdict": str(verdict),
        "code": int(exit_code(verdict)),
        "sentence": found.sentence,
        "state": _state(approval, _void(approval, found, current)),
        "url": found.get_absolute_url(),
        "created_at": at(found.created_at),
    }


def _void(approval: Approval | None, found: GateReport, current: decisions.CurrentState | None = None) -> list[str]:
    if approval is None or approval.decision != Approval.Decision.APPROVED:
        return []
    approval.report = found
    return decisions.void_reasons(approval, files=False, current=current)


def _state(approval: Approval | None, void: list[str]) -> str:
    if approval is None:
        return "pending"
    return "void" if void else str(approval.decision)


def _report(found: GateReport) -> dict[str, Any]:
    """A stored report with its decision."""
    approval = getattr(found, "approval", None)
    void = _void(approval, found)
    return {
        **_out(outcome_of(found)),
        "state": _state(approval, void),
        "decision": None if approval is None else _decision(approval, void),
        "evidence": f"/api/v1/projects/{found.project.slug}/evidence/{found.number}",
    }


def _decision(approval: Approval, void: list[str]) -> dict[str, Any]:
    waivers = waivers_of(approval)
    return {
        "decision": str(approval.decision),
        "reason": approval.reason,
        "by": approval.decided_by.get_username(),
        "at": at(approval.decided_at),
        "waivers": [{**vars(one), "expires": one.expires.isoformat()} for one in waivers],
        "void": void,
        "manifest_sha256": approval.packet_sha256,
    }


def _out(outcome: GateOutcome) -> dict[str, Any]:
    return {**outcome.as_dict(), "state": "", "decision": None, "evidence": None}


def _response(outcome: GateOutcome, form: str) -> HttpResponse:
    """The outcome in a format, with its verdict and exit code as headers, for programs that read no JSON."""
    code = exit_code(outcome.status)
    headers = {"SLM-Verdict": str(outcome.status), "SLM-Exit-Code": str(int(code))}
    if form == "junit":
        return HttpResponse(junit_xml(outcome), content_type=XML, headers=headers)
    return answer(_out(outcome) if outcome.report is None else _report(outcome.report), headers=headers)
