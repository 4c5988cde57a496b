"""A/B tests over REST, with the rules of the page."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from evaluation.models import GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.base import In, Number, Out, Text, Whole
from labeling.api.wire import answer, at
from labeling.models import Project
from serving.experiments import queries, services
from serving.models import Experiment
from slmstudio.errors import Refused

router = Router(tags=["deployment"])
_CONFLICTS = {"busy", "no_stable", "deployed", "ended"}


class ExperimentIn(In):
    """What to compare with the stable version."""

    report: Annotated[Whole, Field(ge=1, lt=2**31, description="number of the approved gate report of version B")]
    question: Text = Field(
        description="failures, latency or accuracy", json_schema_extra={"enum": [*Experiment.Question.values]}
    )
    share: Annotated[Number, Field(gt=0, lt=1, description="share of the requests, for B")] = 0.5


class StopIn(In):
    """Which version stays."""

    keep: Text = Field("a", description="the version that stays", json_schema_extra={"enum": ["a", "b"]})


class ArmOut(Out):
    """One of the two versions. ``e_value``: the evidence that it is better."""

    version: int
    requests: int
    events: int = Field(description="documents that failed, slow answers, or outputs that were judged wrong")
    log_e: float


class ExperimentOut(Out):
    """An A/B test. ``verdict``: a, b, or empty if no difference is shown yet."""

    question: str
    share: float
    a: ArmOut
    b: ArmOut
    verdict: str
    decided_at: str | None
    started_at: str
    ended_at: str | None


@router.get("", summary="Read A/B tests", operation_id="experiments", **operation("deploy", list[ExperimentOut]))
def experiments(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The newest tests of the project."""
    return answer([_out(one) for one in queries.experiments(project_of(request))])


@router.post(
    "", summary="Start an A/B test", operation_id="experiment_start", **operation("deploy", ExperimentOut, 400, 409)
)
def start(request: HttpRequest, slug: Slug, body: ExperimentIn) -> HttpResponse:
    """Gives an approved version a fixed share of the requests."""
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    try:
        services.start(
            project=project, user=caller(request).user, report=report, question=body.question, share=float(body.share)
        )
    except Refused as refusal:
        raise _problem(refusal) from refusal
    return _newest(project)


@router.post(
    "/stop", summary="Stop the A/B test", operation_id="experiment_stop", **operation("deploy", ExperimentOut, 400, 409)
)
def stop(request: HttpRequest, slug: Slug, body: StopIn) -> HttpResponse:
    """Ends the running test."""
    project = project_of(request)
    found = queries.running(project)
    if found is None:
        raise Problem(409, "No A/B test is running.")
    try:
        services.stop(experiment=found, user=caller(request).user, keep_b=body.keep == "b")
    except Refused as refusal:
        raise _problem(refusal) from refusal
    return _newest(project)


def _problem(refusal: Refused) -> Problem:
    conflict = refusal.code in _CONFLICTS
    return field_problem("" if conflict else refusal.field, refusal.message, 409 if conflict else 422)


def _newest(project: Project) -> HttpResponse:
    return answer(_out(queries.experiments(project)[0]))


def _out(status: queries.ExperimentStatus) -> dict[str, Any]:
    one, arms = status.experiment, status.arms

    def arm(version: int, requests: int, events: int, side: str) -> dict[str, Any]:
        return {"version": version, "requests": requests, "events": events, "log_e": float(one.log_e.get(side, 0.0))}

    return {
        "question": one.question,
        "share": one.share,
        "a": arm(one.a.number, arms.a_requests, arms.a_events, "a"),
        "b": arm(one.b.number, arms.b_requests, arms.b_events, "b"),
        "verdict": one.verdict,
        "decided_at": at(one.decided_at) if one.decided_at else None,
        "started_at": at(one.started_at),
        "ended_at": at(one.ended_at) if one.ended_at else None,
    }
