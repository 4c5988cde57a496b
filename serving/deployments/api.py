"""The deployment of a project over REST, with the rules of the page."""

from collections.abc import Callable
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router
from pydantic import Field

from evaluation.models import Endpoint, GateReport
from labeling.api.access import Slug, caller, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas import In, Number, Out, Text, Whole
from labeling.api.wire import answer, at
from labeling.models import Project
from serving.deployments import queries, services
from serving.models import Capture, Deployment, Release, Stage
from slmstudio.errors import Refused

router = Router(tags=["deployment"])
#: codes of refusals by the state of the deployment, not by what was sent
_CONFLICTS = {"busy", "no_stable", "deployed", "no_candidate", "no_previous"}
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

    version: int
    model: str
    report: int | None = Field(description="number of its gate report; null: it can only run in shadow")
    state: str = Field(description="done when it answers; otherwise queued, running or failed")
    state_label: str
    error: str
    package_sha256: str
    replicas_ready: int
    replicas_wanted: int
    requests: int
    failed: int


class EventOut(Out):
    """A change."""

    kind: str
    version: int | None
    stage: str
    share: float
    reason: str
    user: str | None
    created_at: str


class DeploymentOut(Out):
    """The deployment of a project. ``stage`` and ``share`` are of the candidate."""

    stable: ReleaseOut | None
    candidate: ReleaseOut | None
    stage: str
    share: float
    capture: str = Field(description="who can send requests that are forwarded unchanged; empty: no one")
    sticky: bool = Field(description="whether a client always gets the same version")
    previous: int | None = Field(description="the version that a rollback returns to")
    events: list[EventOut]


_CHANGE = operation("deploy", DeploymentOut, 400, 409)


@router.get("", summary="Get the deployment", operation_id="deployment", **operation("deploy", DeploymentOut))
def deployment(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The deployed versions, their replicas, and the newest changes."""
    return answer(_out(project_of(request)))


@router.post("", summary="Deploy a version", operation_id="deploy", **_CHANGE)
def deploy(request: HttpRequest, slug: Slug, body: DeployIn) -> HttpResponse:
    """Deploys the model of an approved gate report; in shadow also of one that is not approved.

    It is the candidate until its replicas answer: poll until ``candidate`` is null, or its ``state`` is done.
    """
    project = project_of(request)
    report = GateReport.objects.filter(project=project, number=body.report).first()
    if report is None:
        raise field_problem("report", f"There is no gate report {body.report}.")
    values = body.model_dump(exclude={"report"})
    return _changed(project, lambda: services.deploy(project=project, user=_user(request), report=report, **values))


@router.post("/external", summary="Start with an external model", operation_id="deploy_external", **_CHANGE)
def deploy_external(request: HttpRequest, slug: Slug, body: ExternalIn) -> HttpResponse:
    """Makes the external model that callers use today the first stable version."""
    project = project_of(request)
    endpoint = Endpoint.objects.in_use(project).filter(name=body.endpoint).first()
    if endpoint is None:
        raise field_problem("endpoint", "There is no such endpoint.")
    return _changed(
        project,
        lambda: services.deploy_endpoint(project=project, user=_user(request), endpoint=endpoint, capture=body.capture),
    )


@router.post(
    "/promote", summary="Promote the candidate", operation_id="promote", **operation("deploy", DeploymentOut, 400, 409)
)
def promote(request: HttpRequest, slug: Slug, body: PromoteIn) -> HttpResponse:
    """Gives the candidate a share of the requests, or without ``share`` all of them."""
    return _change(request, services.promote, **body.model_dump())


@router.post(
    "/abort", summary="Abort the candidate", operation_id="abort", **operation("deploy", DeploymentOut, 400, 409)
)
def abort(request: HttpRequest, slug: Slug, body: ReasonIn) -> HttpResponse:
    """Removes the candidate; all requests go to the stable version."""
    return _change(request, services.abort, **body.model_dump())


@router.post(
    "/roll-back", summary="Roll back", operation_id="roll_back", **operation("deploy", DeploymentOut, 400, 409)
)
def roll_back(request: HttpRequest, slug: Slug, body: ReasonIn) -> HttpResponse:
    """Removes the candidate, or returns to the version that was stable before."""
    return _change(request, services.roll_back, **body.model_dump())


def _change(request: HttpRequest, change: Callable[..., Any], **values: Any) -> HttpResponse:
    project = project_of(request)
    deployment = queries.find(project)
    if deployment is None:
        raise Problem(409, "Nothing is deployed.")
    return _changed(project, lambda: change(deployment=deployment, user=_user(request), **values))


def _changed(project: Project, change: Callable[[], Any]) -> HttpResponse:
    try:
        change()
    except Refused as refusal:
        conflict = refusal.code in _CONFLICTS
        raise field_problem("" if conflict else refusal.field, refusal.message, 409 if conflict else 422) from refusal
    return answer(_out(project))


def _user(request: HttpRequest) -> Any:
    return caller(request).user


def _out(project: Project) -> dict[str, Any]:
    deployment = queries.find(project)
    previous = services.previous_stable(deployment) if deployment is not None and deployment.stable_id else None
    return {
        "stable": _release(deployment, deployment.stable) if deployment else None,
        "candidate": _release(deployment, deployment.candidate) if deployment else None,
        "stage": deployment.stage if deployment else "",
        "share": deployment.share if deployment else 0.0,
        "capture": deployment.capture if deployment else "",
        "sticky": deployment.sticky if deployment else False,
        "previous": previous.number if previous else None,
        "events": [
            {
                "kind": event.kind,
                "version": event.release.number if event.release else None,
                "stage": event.stage,
                "share": event.share,
                "reason": event.reason,
                "user": event.user.get_username() if event.user else None,
                "created_at": at(event.created_at),
            }
            for event in queries.events(project)
        ],
    }


def _release(deployment: Deployment, release: Release | None) -> dict[str, Any] | None:
    status = queries.status_of(deployment, release)
    if status is None:
        return None
    release, (state, label) = status.release, status.state
    return {
        "version": release.number,
        "model": release.label.partition(": ")[2],
        "report": release.report.number if release.report else None,
        "state": state,
        "state_label": label,
        "error": status.error,
        "package_sha256": release.package.sha256 if release.package else "",
        "replicas_ready": status.ready,
        "replicas_wanted": status.wanted,
        "requests": status.requests,
        "failed": status.failed,
    }
