"""The deployment of a project over REST, with the rules of the page."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Router
from pydantic import Field

from evaluation.models import Endpoint, GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import In, Moment, Number, Out, Text, Whole
from labeling.models import Project
from serving.deployments import queries, services
from serving.models import Capture, Stage

router = Router(tags=["deployment"])
Share = Annotated[Number | None, Field(gt=0, lt=1, description="share of the requests, for a canary")]
Reason = Annotated[Text, Field(max_length=1_000)]


class DeployIn(In):
    """What to deploy."""

    report: Annotated[Whole, Field(ge=1, lt=2**31, description="number of the gate report")]
    stage: Text = Field("full", description="shadow, canary or full", json_schema_extra={"enum": [*Stage.values]})
    share: Share = None
    engine: Text = Field("", description="an engine or a variant; empty: that of the evaluation", max_length=40)


class ExternalIn(In):
    """The external model that answers today."""

    endpoint: Text = Field(description="name of the endpoint", max_length=80)
    capture: Text = Field(
        "token", description="who can send requests that are forwarded unchanged; empty: no one",
        json_schema_extra={"enum": ["", *Capture.values]},
    )  # fmt: skip


class PromoteIn(In):
    """How far to promote the candidate."""

    share: Share = None
    reason: Reason = ""


class ReasonIn(In):
    """The reason."""

    reason: Reason = ""


class ReleaseOut(Out):
    """A version with its replicas and its figures for the last day."""

    version: int = Field(validation_alias="release.number")
    model: str = Field(validation_alias="release.model_label")
    report: int | None = Field(
        None, description="number of its gate report; null: it can only run in shadow",
        validation_alias="release.report.number",
    )  # fmt: skip
    state: str = Field(description="done when it answers; otherwise queued, running or failed")
    state_label: str
    error: str
    package_sha256: str = Field("", validation_alias="release.package.sha256")
    replicas_ready: int = Field(validation_alias="ready")
    replicas_wanted: int = Field(validation_alias="wanted")
    requests: int
    failed: int

    @staticmethod
    def resolve_state(status: queries.ReleaseStatus) -> str:
        """Of its badge."""
        return status.state[0]

    @staticmethod
    def resolve_state_label(status: queries.ReleaseStatus) -> str:
        """The text of its badge."""
        return status.state[1]


class EventOut(Out):
    """A change."""

    kind: str
    version: int | None = Field(None, validation_alias="release.number")
    stage: str
    share: float
    reason: str
    user: str | None = Field(None, validation_alias="user.username")
    created_at: Moment


class DeploymentOut(Out):
    """The deployment of a project. ``stage`` and ``share`` are of the candidate."""

    stable: ReleaseOut | None
    candidate: ReleaseOut | None
    stage: str = Field("", validation_alias="deployment.stage")
    share: float = Field(0.0, validation_alias="deployment.share")
    capture: str = Field(
        "", description="who can send requests that are forwarded unchanged; empty: no one",
        validation_alias="deployment.capture",
    )  # fmt: skip
    sticky: bool = Field(
        False, description="whether a client always gets the same version", validation_alias="deployment.sticky"
    )
    previous: int | None = Field(
        None, description="the version that a rollback returns to", validation_alias="previous.number"
    )
    events: list[EventOut]


_CHANGE = operation("deploy", DeploymentOut, 400, 409)


@router.get("", summary="Get the deployment", operation_id="deployment", **operation("deploy", DeploymentOut))
def deployment(request: HttpRequest, slug: Slug) -> Any:
    """The deployed versions, their replicas, and the newest changes."""
    return _shown(project_of(request))


@router.post("", summary="Deploy a version", operation_id="deploy", **_CHANGE)
def deploy(request: HttpRequest, slug: Slug, body: DeployIn) -> Any:
    """Deploys the model of an approved gate report; in shadow also of one that is not approved.

    It is the candidate until its replicas answer: poll until ``candidate`` is null, or its ``state`` is done.
    """
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    values = body.model_dump(exclude={"report"})
    services.deploy(project=project, user=caller(request).user, report=report, **values)
    return _shown(project)


@router.post("/external", summary="Start with an external model", operation_id="deploy_external", **_CHANGE)
def deploy_external(request: HttpRequest, slug: Slug, body: ExternalIn) -> Any:
    """Makes the external model that callers use today the first stable version."""
    project = project_of(request)
    endpoint = Endpoint.objects.in_use(project).filter(name=body.endpoint).first()
    if endpoint is None:
        raise field_problem("endpoint", "There is no such endpoint.")
    services.deploy_endpoint(project=project, user=caller(request).user, endpoint=endpoint, capture=body.capture)
    return _shown(project)


@router.post("/promote", summary="Promote the candidate", operation_id="promote", **_CHANGE)
def promote(request: HttpRequest, slug: Slug, body: PromoteIn) -> Any:
    """Gives the candidate a share of the requests, or without ``share`` all of them."""
    return _change(request, services.promote, **body.model_dump())


@router.post("/abort", summary="Abort the candidate", operation_id="abort", **_CHANGE)
def abort(request: HttpRequest, slug: Slug, body: ReasonIn) -> Any:
    """Removes the candidate; all requests go to the stable version."""
    return _change(request, services.abort, **body.model_dump())


@router.post("/roll-back", summary="Roll back", operation_id="roll_back", **_CHANGE)
def roll_back(request: HttpRequest, slug: Slug, body: ReasonIn) -> Any:
    """Removes the candidate, or returns to the version that was stable before."""
    return _change(request, services.roll_back, **body.model_dump())


def _change(request: HttpRequest, change: Callable[..., Any], **values: Any) -> SimpleNamespace:
    project = project_of(request)
    deployment = queries.find(project)
    if deployment is None:
        raise Problem(409, "Nothing is deployed.")
    change(deployment=deployment, user=caller(request).user, **values)
    return _shown(project)


def _shown(project: Project) -> SimpleNamespace:
    deployment = queries.find(project)
    return SimpleNamespace(
        deployment=deployment,
        stable=queries.status_of(deployment, deployment.stable) if deployment else None,
        candidate=queries.status_of(deployment, deployment.candidate) if deployment else None,
        previous=services.previous_stable(deployment) if deployment and deployment.stable_id else None,
        events=queries.events(project),
    )
