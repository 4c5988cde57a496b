"""The answer policy of a deployment over REST, with the rules of the page."""

from dataclasses import asdict
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from evaluation.models import Endpoint
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.base import In, Number, Out, Text, Whole
from labeling.api.wire import answer, at
from labeling.models import Project
from serving.confidence.budget import WhatIf
from serving.policies import queries, services
from slmstudio.errors import Refused

router = Router(tags=["deployment"])
Probability = Annotated[Number, Field(ge=0, le=1)]


class PolicyIn(In):
    """Omitted members do not change; ``null`` removes a limit, the budget or the larger model."""

    larger_model: Text | None = Field(None, description="name of an external model", max_length=80)
    on_invalid: bool | None = None
    on_invariant: bool | None = None
    on_unavailable: bool | None = None
    min_confidence: Probability | None = None
    field_confidence: dict[str, Probability] | None = Field(None, description="field -> its own minimum")
    budget_wrong: Annotated[Whole, Field(ge=1, lt=2**31)] | None = Field(None, description="null: no error budget")
    budget_of: Annotated[Whole, Field(ge=2, lt=2**31)] | None = None
    budget_unit: Text | None = Field(None, json_schema_extra={"enum": ["field", "document"]})
    basis: Text | None = Field(None, json_schema_extra={"enum": ["proven", "expected"]})
    rest: Text | None = Field(None, json_schema_extra={"enum": ["people", "fallback"]})
    audit_share: Probability | None = None


class ResumeIn(In):
    """Why automatic answers resume."""

    reason: Annotated[Text, Field(min_length=1, max_length=1_000)]


class AuditOut(Out):
    """Errors among the drawn answers; ``low`` and ``high``: an interval that stays valid at every reading."""

    drawn: int
    judged: int
    wrong: int
    counted: int
    low: float
    high: float


class PolicyOut(Out):
    """The policy and its effect."""

    larger_model: str | None
    on_invalid: bool
    on_invariant: bool
    on_unavailable: bool
    min_confidence: float | None
    field_confidence: dict[str, float]
    budget_wrong: int | None
    budget_of: int
    budget_unit: str
    basis: str
    rest: str
    audit_share: float
    limit: float | None = Field(
        description="limit of calibrated confidence that meets the budget; null: nothing is automatic"
    )
    automatic_share: float | None = Field(description="share of automatic answers on the validation documents")
    broken_at: str | None
    broken_reason: str
    audit: AuditOut | None
    what_if: list[WhatIf] = Field(description="what each minimum confidence would do; empty without a calibration")


#: members that null takes away; null for the others says nothing
_NULLABLE = {"larger_model", "min_confidence", "budget_wrong"}


@router.get("", summary="Get the answer policy", operation_id="answer_policy", **operation("deploy", PolicyOut, 409))
def policy(request: HttpRequest, slug: Slug) -> HttpResponse:
    """When the larger model is asked, the error budget, and its audit."""
    return answer(_out(_status(project_of(request))))


@router.put(
    "", summary="Update the answer policy", operation_id="set_answer_policy", **operation("deploy", PolicyOut, 400, 409)
)
def set_policy(request: HttpRequest, slug: Slug, body: PolicyIn) -> HttpResponse:
    """Changes the members that are sent. A changed budget starts a new audit."""
    project = project_of(request)
    sent = body.model_dump(exclude_unset=True)
    values = {name: value for name, value in sent.items() if value is not None or name in _NULLABLE}
    if "larger_model" in values:
        values["endpoint"] = _endpoint(project, values.pop("larger_model"))
    try:
        services.set_policy(deployment=_status(project).deployment, user=caller(request).user, **values)
    except Refused as refusal:
        name = "larger_model" if refusal.field == "endpoint" else refusal.field
        raise field_problem(name, refusal.message) from refusal
    return answer(_out(_status(project)))


@router.post(
    "/resume", summary="Resume automatic answers", operation_id="resume_budget",
    **operation("deploy", PolicyOut, 400, 409),
)  # fmt: skip
def resume(request: HttpRequest, slug: Slug, body: ResumeIn) -> HttpResponse:
    """Resumes automatic answers after the budget was exceeded, and starts a new audit."""
    project = project_of(request)
    try:
        services.resume(deployment=_status(project).deployment, user=caller(request).user, reason=body.reason)
    except Refused as refusal:
        raise field_problem("", refusal.message, 409) from refusal
    return answer(_out(_status(project)))


def _status(project: Project) -> queries.ConfidenceStatus:
    found = queries.status_of(project)
    if found is None:
        raise Problem(409, "Nothing is deployed.")
    return found


def _endpoint(project: Project, name: str | None) -> Endpoint | None:
    if name is None:
        return None
    found: Endpoint | None = Endpoint.objects.in_use(project).filter(name=name).first()
    if found is None:
        raise field_problem("larger_model", f"There is no external model {name}.")
    return found


def _out(status: queries.ConfidenceStatus) -> dict[str, Any]:
    row, audit = status.policy, status.audit
    names = [name for name in services.FIELDS if name != "endpoint"]
    return {
        "larger_model": str(row.endpoint) if row.endpoint is not None else None,
        **{name: getattr(row, name) for name in names},
        "limit": status.chosen.limit if status.chosen else None,
        "automatic_share": status.chosen.share if status.chosen else None,
        "broken_at": at(row.broken_at) if row.broken_at else None,
        "broken_reason": row.broken_reason,
        "audit": None
        if audit is None
        else {
            "drawn": audit.drawn, "judged": audit.judged, "wrong": audit.wrong, "counted": audit.counted,
            "low": audit.interval[0], "high": audit.interval[1],
        },
        "what_if": [asdict(one) for one in status.curve],
    }  # fmt: skip
