"""Comparisons over REST, with the rules of the page."""

from typing import Annotated, Any

from django.http import Http404, HttpRequest
from ninja import Path, Router
from pydantic import Field

from evaluation.models import GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import In, Moment, Number, Out, Text, Whole
from serving.comparisons import queries, services
from serving.comparisons.labels import Measure, Method
from serving.comparisons.split import Question
from serving.deployments.queries import find
from serving.models import Deployment, TrafficComparison

router = Router(tags=["deployment"])
ComparisonNumber = Annotated[int, Path(..., ge=1, lt=2**31)]


def _choice(choices: list[Any], description: str) -> Any:
    return Field(choices[0], description=description, json_schema_extra={"enum": choices})


class SplitIn(In):
    """What to compare with the stable version on live requests."""

    report: Annotated[Whole, Field(ge=1, lt=2**31, description="number of the approved gate report of version B")]
    question: Text = _choice(Question.values, "what is compared")
    share: Annotated[Number, Field(gt=0, lt=1, description="share of the requests, for B")] = 0.5


class LabelsIn(In):
    """What to show about the candidate on documents that people label."""

    margin: Annotated[Number, Field(ge=0.001, le=0.5, description="acceptable loss of accuracy")]
    measure: Text = _choice(Measure.values, "what is compared")
    method: Text = _choice(Method.values, "when the result may be read")
    family: Text = Field("", description="source, metadata.KEY, caller, or empty", max_length=100)
    documents: Annotated[Whole | None, Field(ge=1, description="to label; null: as many as calculated")] = None


class ReplayIn(In):
    """How many logged requests to replay."""

    limit: Annotated[Whole, Field(ge=1)] = 1_000


class StopIn(In):
    """Which version of a live split stays."""

    keep: Text = _choice(["a", "b"], "the version that stays")


class ComparisonOut(Out):
    """A comparison of version ``a``, the stable one, and ``b``. ``plan`` and ``result`` depend on ``kind``."""

    number: int
    kind: str
    a: int = Field(description="version", validation_alias="a.number")
    b: int = Field(description="version", validation_alias="b.number")
    plan: dict[str, Any]
    result: dict[str, Any] = Field(description="counts and logarithms of the evidence; of a replay, failed and skipped")
    status: str
    progress_done: int
    progress_total: int
    verdict: str = Field(description="a, b, certified or not_shown; empty: nothing is shown yet")
    decided_at: Moment | None
    started_at: Moment | None
    finished_at: Moment | None
    certificate: dict[str, Any] | None = Field(description="what was issued, with its SHA-256; null: nothing yet")

    @staticmethod
    def resolve_certificate(comparison: TrafficComparison) -> dict[str, Any] | None:
        """The content with its hash."""
        return {**comparison.content, "sha256": comparison.sha256} if comparison.sha256 else None


_CHANGE = operation("deploy", ComparisonOut, 400, 409)


@router.get("", summary="List comparisons", operation_id="comparisons", **operation("deploy", list[ComparisonOut]))
def comparisons(request: HttpRequest, slug: Slug) -> Any:
    """The newest comparisons of the project."""
    return [status.comparison for status in queries.comparisons(project_of(request))]


@router.post("/split", summary="Start a live split", operation_id="comparison_split", **_CHANGE)
def split(request: HttpRequest, slug: Slug, body: SplitIn) -> Any:
    """Gives an approved version a fixed share of the requests."""
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    values = body.model_dump() | {"report": report, "share": float(body.share)}
    return services.start_split(project=project, user=caller(request).user, **values)


@router.post("/shadow", summary="Compare on labeled documents", operation_id="comparison_shadow", **_CHANGE)
def shadow(request: HttpRequest, slug: Slug, body: LabelsIn) -> Any:
    """Plans a comparison of the candidate on labeled documents, and samples them."""
    deployment, user = _deployment(request), caller(request).user
    values = body.model_dump() | {"margin": float(body.margin)}
    started = services.start_labels(deployment=deployment, user=user, **values)
    services.draw(comparison=started, user=user)
    return started


@router.post("/replay", summary="Replay logged requests", operation_id="comparison_replay", **_CHANGE)
def replay(request: HttpRequest, slug: Slug, body: ReplayIn) -> Any:
    """Sends logged requests to the candidate in shadow, in the background."""
    deployment = _deployment(request)
    return services.start_replay(deployment=deployment, user=caller(request).user, limit=int(body.limit))


@router.get("/{number}", summary="Get a comparison", operation_id="comparison", **operation("deploy", ComparisonOut))
def comparison(request: HttpRequest, slug: Slug, number: ComparisonNumber) -> Any:
    """A comparison with its result."""
    return _comparison(request, number)


@router.post("/{number}/stop", summary="Stop a comparison", operation_id="comparison_stop", **_CHANGE)
def stop(request: HttpRequest, slug: Slug, number: ComparisonNumber, body: StopIn) -> Any:
    """Ends a live split, or cancels a replay."""
    row, user = _comparison(request, number), caller(request).user
    return services.stop(comparison=row, user=user, keep_b=body.keep == "b")


@router.post("/{number}/draw", summary="Sample missing documents", operation_id="comparison_draw", **_CHANGE)
def draw(request: HttpRequest, slug: Slug, number: ComparisonNumber) -> Any:
    """Samples the planned documents that the traffic did not have before."""
    row = _comparison(request, number)
    services.draw(comparison=row, user=caller(request).user)
    return row


@router.post("/{number}/certificate", summary="Issue the certificate", operation_id="comparison_issue", **_CHANGE)
def issue(request: HttpRequest, slug: Slug, number: ComparisonNumber) -> Any:
    """Stores what a comparison shows as a certificate."""
    return services.issue(comparison=_comparison(request, number), user=caller(request).user)


def _comparison(request: HttpRequest, number: int) -> TrafficComparison:
    status = queries.find(project_of(request), number)
    if status is None:
        raise Http404
    return status.comparison


def _deployment(request: HttpRequest) -> Deployment:
    deployment = find(project_of(request))
    if deployment is None:
        raise Problem(409, "Nothing is deployed.")
    return deployment
