"""The answer policy of a deployment over REST, with the rules of the page."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from evaluation.models import Endpoint
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import In, Moment, Number, Out, Text, Whole
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
    low: float = Field(validation_alias="interval.0")
    high: float = Field(validation_alias="interval.1")


class PolicyOut(Out):
    """The policy and its effect."""

    larger_model: str | None = Field(None, validation_alias="policy.endpoint.name")
    on_invalid: bool = Field(validation_alias="policy.on_invalid")
    on_invariant: bool = Field(validation_alias="policy.on_invariant")
    on_unavailable: bool = Field(validation_alias="policy.on_unavailable")
    min_confidence: float | None = Field(validation_alias="policy.min_confidence")
    rest: str = Field(validation_alias="policy.rest")
    budget_wrong: int | None = Field(validation_alias="policy.budget_wrong")
    budget_of: int = Field(validation_alias="policy.budget_of")
    broken_at: Moment | None = Field(validation_alias="policy.broken_at")
    broken_reason: str = Field(validation_alias="policy.broken_reason")
    budget: BudgetOut | None
    proven_threshold: float | None = Field(
        None, description="the lowest that keeps the budget on the validation documents",
        validation_alias="proven.threshold",
    )  # fmt: skip
    thresholds: list[Threshold] = Field(description="what each threshold does; empty without a calibration")


#: members that null takes away; null for the others says nothing
_NULLABLE = {"larger_model", "min_confidence", "budget_wrong"}


@router.get("", summary="Get the answer policy", operation_id="answer_policy", **operation("deploy", PolicyOut, 409))
def policy(request: HttpRequest, slug: Slug) -> Any:
    """The threshold, when the larger model is asked, and the error budget."""
    return _status(project_of(request))


@router.put(
    "", summary="Update the answer policy", operation_id="set_answer_policy", **operation("deploy", PolicyOut, 400, 409)
)
def set_policy(request: HttpRequest, slug: Slug, body: PolicyIn) -> Any:
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
    return _status(project)


@router.post(
    "/resume", summary="Resume automatic answers", operation_id="resume_budget",
    **operation("deploy", PolicyOut, 400, 409),
)  # fmt: skip
def resume(request: HttpRequest, slug: Slug, body: ResumeIn) -> Any:
    """Resumes automatic answers after the budget was exceeded; the budget starts over."""
    project = project_of(request)
    policies.resume(deployment=_status(project).deployment, user=caller(request).user, reason=body.reason)
    return _status(project)


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
