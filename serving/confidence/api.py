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
from labeling.api.schemas import In, Number, Out, Text, Whole
from labeling.api.wire import answer, at
from labeling.models import Project
from serving.confidence import policy as policies
from serving.confidence.calibration import Threshold
from serving.confidence.status import PolicyStatus, status_of
from slmstudio.errors import Refused

router = Router(tags=["deployment"])


class PolicyIn(In):
    """Omitted members do not change; ``null`` removes the threshold, the budget or the larger model."""

    larger_model: Text | None = Field(None, description="name of an external model", max_length=80)
    on_invalid: bool | None = None
    on_invariant: bool | None = None
    on_unavailable: bool | None = None
    min_confidence: Annotated[Number, Field(ge=0, le=1)] | None = Field(None, description="of every field")
    rest: Text | None = Field(None, json_schema_extra={"enum": ["people", "fallback"]})
    budget_wrong: Annotated[Whole, Field(ge=1, lt=2**31)] | None = Field(None, description="null: no error budget")
    budget_of: Annotated[Whole, Field(ge=2, lt=2**31)] | None = Field(None, description="documents")


class ResumeIn(In):
    """Why automatic answers resume."""

    reason: Annotated[Text, Field(min_length=1, max_length=1_000)]


class BudgetOut(Out):
    """Errors among the sampled answers; ``low`` and ``high``: an interval that stays valid at every reading."""

    drawn: int
    judged: int
    wrong: int
    low: float
    high: float


class PolicyOut(Out):
    """The policy and its effect."""

    larger_model: str | None
    on_invalid: bool
    on_invariant: bool
    on_unavailable: bool
    min_confidence: float | None
    rest: str
    budget_wrong: int | None
    budget_of: int
    broken_at: str | None
    broken_reason: str
    budget: BudgetOut | None
    proven_threshold: float | None = Field(description="the lowest that keeps the budget on the validation documents")
    thresholds: list[Threshold] = Field(description="what each threshold does; empty without a calibration")


#: members that null takes away; null for the others says nothing
_NULLABLE = {"larger_model", "min_confidence", "budget_wrong"}


@router.get("", summary="Get the answer policy", operation_id="answer_policy", **operation("deploy", PolicyOut, 409))
def policy(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The threshold, when the larger model is asked, and the error budget."""
    return answer(_out(_status(project_of(request))))


@router.put(
    "", summary="Update the answer policy", operation_id="set_answer_policy", **operation("deploy", PolicyOut, 400, 409)
)
def set_policy(request: HttpRequest, slug: Slug, body: PolicyIn) -> HttpResponse:
    """Changes the members that are sent. A changed budget starts over."""
    project = project_of(request)
    sent = body.model_dump(exclude_unset=True)
    values = {name: value for name, value in sent.items() if value is not None or name in _NULLABLE}
    if "larger_model" in values:
        values["endpoint"] = _endpoint(project, values.pop("larger_model"))
    try:
        policies.set_policy(deployment=_status(project).deployment, user=caller(request).user, **values)
    except Refused as refusal:
        name = "larger_model" if refusal.field == "endpoint" else refusal.field
        raise field_problem(name, refusal.message) from refusal
    return answer(_out(_status(project)))


@router.post(
    "/resume", summary="Resume automatic answers", operation_id="resume_budget",
    **operation("deploy", PolicyOut, 400, 409),
)  # fmt: skip
def resume(request: HttpRequest, slug: Slug, body: ResumeIn) -> HttpResponse:
    """Resumes automatic answers after the budget was exceeded; the budget starts over."""
    project = project_of(request)
    try:
        policies.resume(deployment=_status(project).deployment, user=caller(request).user, reason=body.reason)
    except Refused as refusal:
        raise field_problem("", refusal.message, 409) from refusal
    return answer(_out(_status(project)))


def _status(project: Project) -> PolicyStatus:
    status = status_of(project)
    if status is None:
        raise Problem(409, "Nothing is deployed.")
    return status


def _endpoint(project: Project, name: str | None) -> Endpoint | None:
    if name is None:
        return None
    endpoint: Endpoint | None = Endpoint.objects.in_use(project).filter(name=name).first()
    if endpoint is None:
        raise field_problem("larger_model", f"There is no external model {name}.")
    return endpoint


def _out(status: PolicyStatus) -> dict[str, Any]:
    row, budget = status.policy, status.budget
    out = {name: getattr(row, name) for name in (*policies.FIELDS, "broken_reason") if name != "endpoint"}
    if budget is not None:
        low, high = budget.interval
        counts = {"drawn": budget.drawn, "judged": budget.judged, "wrong": budget.wrong}
        out["budget"] = counts | {"low": low, "high": high}
    return {
        "budget": None,
        **out,
        "larger_model": str(row.endpoint) if row.endpoint is not None else None,
        "broken_at": at(row.broken_at) if row.broken_at else None,
        "proven_threshold": status.proven.threshold if status.proven else None,
        "thresholds": [asdict(threshold) for threshold in status.thresholds],
    }
