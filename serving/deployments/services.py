"""Deployments: deploy, promote, roll back and stop. Every change is an event and an entry of the audit log."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.approvals.decisions import void_reasons
from evaluation.audit import services as audit_services
from evaluation.endpoints.permits import require_permit
from evaluation.models import Approval, Endpoint, EvalRun, GateReport
from labeling.models import Project
from serving.models import Capture, Deployment, DeploymentEvent, Package, Release, Stage
from serving.packages.services import request_package, wanted_key
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

Kind = DeploymentEvent.Kind
#: the share of a canary where none is given
CANARY_SHARE = 0.05
#: shares of the requests that a candidate gets, in the order of the rollout
STEPS = (0.05, 0.10, 0.25, 0.50)


def deploy(
    *,
    project: Project,
    user: User,
    stage: str,
    report: GateReport | None = None,
    run: EvalRun | None = None,
    share: float | None = None,
    engine: str = "",
) -> Deployment:
    """Deploys the model of an approved gate report, or in shadow that of any evaluation.

    The package is built where there is none yet. The release is the candidate until replicas answer: at stage full it
    then becomes the stable one, and until then the previous release keeps answering.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is stage, report, run, share or engine.
    """
    require(project, user, Action.DEPLOY)
    if stage not in Stage.values:
        raise Refused(f"Select a stage: {', '.join(Stage.values)}.", field="stage", code="stage")
    share = _checked_share(stage, share)
    if report is not None:
        run = report.eval_run
    if run is None or run.project_id != project.pk:
        raise Refused("Select a gate report or an evaluation of this project.", field="report", code="report")
    approved = report is not None and _check_approval(report, required=stage != Stage.SHADOW)
    if stage != Stage.SHADOW and report is None:
        raise Refused(
            "Only an approved model can answer clients. Deploy this one to shadow.", field="stage", code="not_approved"
        )
    package = request_package(run=run, user=user, engine=engine)
    variant = package.variant(wanted_key(run, engine))
    # "" is the first one, so that a release of before has the same value.
    key = "" if variant is None or variant.key == package.all_variants[0].key else variant.key
    with transaction.atomic():
        deployment = _locked(project)
        package.refresh_from_db(fields=["deleted_at"])
        if package.deleted_at is not None:
            raise Refused("The package was just deleted. Try again.", field="report", code="busy")
        if deployment.candidate_id is not None:
            current = deployment.candidate
            assert current is not None
            if (current.package_id, current.variant) != (package.pk, key):
                raise Refused(
                    f"{str(current).capitalize()} is already the candidate. Promote or abort it first.",
                    field="stage",
                    code="busy",
                )
        if deployment.stable is None and stage != Stage.FULL:
            raise Refused(
                "Nothing is deployed yet. Deploy a first version to all traffic.", field="stage", code="no_stable"
            )
        release = _release(project, package, key, report if approved else None, user)
        if deployment.stable_id == release.pk:
            raise Refused(f"{str(release).capitalize()} is already deployed.", field="report", code="deployed")
        deployment.candidate, deployment.stage, deployment.share = release, stage, share
        _save(deployment)
        _record(deployment, Kind.DEPLOYED, release, user)
    return deployment


def _checked_share(stage: str, share: float | None) -> float:
    if stage == Stage.SHADOW:
        return 0.0
    if stage == Stage.FULL:
        return 1.0
    share = CANARY_SHARE if share is None else share
    if not 0 < share < 1:
        raise Refused("Enter a share above 0 and below 100%.", field="share", code="share")
    return share


def _check_approval(report: GateReport, *, required: bool) -> bool:
    """Whether a report has a valid approval. Raises Refused where it is ``required`` and missing or void."""
    approval = Approval.objects.filter(report=report, decision=Approval.Decision.APPROVED).first()
    if approval is None:
        if required:
            raise Refused(f"{str(report).capitalize()} is not approved.", field="report", code="not_approved")
        return False
    reasons = void_reasons(approval)
    if reasons and required:
        raise Refused("The approval is void. " + " ".join(reasons), field="report", code="void")
    return not reasons


def deploy_endpoint(*, project: Project, user: User, endpoint: Endpoint, capture: str = "") -> Deployment:
    """Makes the external model that is used today the stable side: it answers, and its traffic is recorded.

    ``capture``: who may send requests that are forwarded unchanged (``Capture``); "": no one.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: something is deployed already, or the endpoint is of another project.
    """
    require(project, user, Action.DEPLOY)
    _check_capture(capture)
    if endpoint.project_id != project.pk or endpoint.retired_at is not None:
        raise Refused("Select an external model of this project.", field="endpoint", code="endpoint")
    with transaction.atomic():
        deployment = _locked(project)
        require_permit(endpoint, user, "endpoint")
        if deployment.stable_id is not None:
            raise Refused("Another version is already deployed.", field="endpoint", code="busy")
        release = Release.objects.filter(project=project, endpoint=endpoint).first() or Release.objects.create(
            project=project, number=project.next_number(Release), endpoint=endpoint, created_by=user
        )
        deployment.stable, deployment.capture = release, capture
        _save(deployment)
        _record(deployment, Kind.DEPLOYED, release, user)
    return deployment


def set_options(*, deployment: Deployment, user: User, capture: str, sticky: bool) -> Deployment:
    """Sets who may send requests that are forwarded unchanged, and whether a client always gets the same version.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is capture, or sticky: a canary runs.
    """
    require(deployment.project, user, Action.DEPLOY)
    _check_capture(capture)
    with transaction.atomic():
        deployment = _locked(deployment.project)
        if sticky != deployment.sticky and deployment.stage == Stage.CANARY:
            raise Refused(
                "A canary is running. Change this setting before or after a canary.", field="sticky", code="busy"
            )
        if (capture, sticky) != (deployment.capture, deployment.sticky):
            deployment.capture, deployment.sticky = capture, sticky
            _save(deployment)
            audit_services.record(
                project=deployment.project, user=user, action="options changed", about="deployment",
                details={"capture": capture, "sticky": sticky},
            )  # fmt: skip
    return deployment


def _check_capture(capture: str) -> None:
    if capture and capture not in Capture.values:
        raise Refused(f"Select one of: {', '.join(Capture.values)}.", field="capture", code="capture")


def promote(*, deployment: Deployment, user: User | None, share: float | None = None, reason: str = "") -> Deployment:
    """Moves the candidate on: to a share of the traffic, or (None) to all of it.

    ``user`` None: the application. Raises Forbidden, or Refused where there is no candidate or it is not approved.
    """
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        deployment = _locked(deployment.project)
        candidate = _candidate(deployment)
        if candidate.report is None:
            raise Refused(f"{str(candidate).capitalize()} is not approved.", field="stage", code="not_approved")
        _check_approval(candidate.report, required=True)
        stage = Stage.FULL if share is None else Stage.CANARY
        deployment.stage, deployment.share = stage, _checked_share(stage, share)
        _save(deployment)
        _record(deployment, Kind.PROMOTED, candidate, user, reason)
    return deployment


def finish_promotion(deployment: Deployment) -> bool:
    """Makes a candidate at stage full the stable release; called once its replicas answer. Whether it changed."""
    with transaction.atomic():
        deployment = _locked(deployment.project)
        if deployment.candidate is None or deployment.stage != Stage.FULL:
            return False
        deployment.stable = deployment.candidate
        _clear_candidate(deployment)
        _save(deployment)
        _record(deployment, Kind.PROMOTED, deployment.stable, None, "The replicas respond.")
    return True


def abort(*, deployment: Deployment, user: User | None, reason: str) -> Deployment:
    """Takes the candidate out: everything goes to the stable release. ``user`` None: the application."""
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        deployment = _locked(deployment.project)
        candidate = _candidate(deployment)
        _clear_candidate(deployment)
        _save(deployment)
        _record(deployment, Kind.ABORTED, candidate, user, reason)
    return deployment


def roll_back(*, deployment: Deployment, user: User, reason: str = "") -> Deployment:
    """Back to the release that was stable before; a candidate is taken out.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: there is no earlier release, or its approval is void.
    """
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        deployment = _locked(deployment.project)
        if deployment.candidate is not None:
            candidate = deployment.candidate
            _clear_candidate(deployment)
            _save(deployment)
            _record(deployment, Kind.ABORTED, candidate, user, reason)
            return deployment
        previous = previous_stable(deployment)
        if previous is None:
            raise Refused("There is no earlier version to roll back to.", field="form", code="no_previous")
        if previous.report is not None:
            _check_approval(previous.report, required=True)
        if previous.package is not None and not previous.package.is_ready:
            raise Refused(
                f"The files of {previous} were deleted. Deploy its report again.", field="form", code="no_package"
            )
        # Its replicas have to start again: until they answer, the current release does.
        deployment.candidate, deployment.stage, deployment.share = previous, Stage.FULL, 1.0
        _save(deployment)
        _record(deployment, Kind.ROLLED_BACK, previous, user, reason)
    return deployment


def stop(*, deployment: Deployment, user: User, reason: str = "") -> Deployment:
    """Nothing answers any more."""
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        deployment = _locked(deployment.project)
        release = deployment.stable
        deployment.stable = None
        _clear_candidate(deployment)
        _save(deployment)
        _record(deployment, Kind.STOPPED, release, user, reason)
    return deployment


def previous_stable(deployment: Deployment) -> Release | None:
    """The release that was stable before the current one, without those that were aborted as a candidate since."""
    rows = DeploymentEvent.objects.filter(project=deployment.project_id).order_by("-pk")
    excluded: set[int | None] = {None, deployment.stable_id}
    aborted = None
    for kind, release, stable in rows.values_list("kind", "release_id", "stable_id"):
        if stable not in excluded:
            return Release.objects.select_related("report", "package").get(pk=stable)
        if kind == Kind.ABORTED:
            aborted = release
        elif release == aborted and kind in (Kind.DEPLOYED, Kind.ROLLED_BACK):
            # An aborted rollback says nothing about the version that it goes back to.
            excluded |= {aborted} if kind == Kind.DEPLOYED else set()
            aborted = None
    return None


def is_waiting_for_package(release: Release) -> bool:
    """Whether a release cannot start because its package is still being built."""
    return release.package is not None and release.package.status in (Status.QUEUED, Status.RUNNING)


def record_change(deployment: Deployment, kind: str, user: User | None, reason: str = "") -> None:
    """Records a change of how a deployment answers that changes no release; gateways notice the new revision.

    Within the transaction of the service that checked the role.
    """
    deployment = _locked(deployment.project)
    _save(deployment)
    _record(deployment, kind, None, user, reason)


# -- helpers ----------------------------------------------------------------------------------------------------------


def _locked(project: Project) -> Deployment:
    """The deployment of a project, locked; created where there is none."""
    Deployment.objects.bulk_create([Deployment(project=project)], ignore_conflicts=True)
    deployment: Deployment = Deployment.objects.select_for_update(of=("self",)).with_releases().get(project=project)
    deployment.project = project
    return deployment


def _release(project: Project, package: Package, variant: str, report: GateReport | None, user: User) -> Release:
    release = Release.objects.filter(package=package, variant=variant, report=report).first()
    return release or Release.objects.create(
        project=project,
        number=project.next_number(Release),
        package=package,
        variant=variant,
        report=report,
        created_by=user,
    )


def _candidate(deployment: Deployment) -> Release:
    if deployment.candidate is None:
        raise Refused("There is no candidate.", field="form", code="no_candidate")
    return deployment.candidate


def _clear_candidate(deployment: Deployment) -> None:
    deployment.candidate, deployment.stage, deployment.share = None, "", 0.0


def _save(deployment: Deployment) -> None:
    deployment.revision += 1
    deployment.full_clean(exclude=["project"])
    deployment.save()


def _record(deployment: Deployment, kind: str, release: Release | None, user: User | None, reason: str = "") -> None:
    DeploymentEvent.objects.create(
        project=deployment.project, kind=kind, release=release, stable=deployment.stable, stage=deployment.stage,
        share=deployment.share, user=user, reason=reason.strip(),
    )  # fmt: skip
    details: dict[str, Any] = {"stage": deployment.stage, "share": deployment.share, "reason": reason.strip()}
    if release is not None and release.package is not None:
        details["package_sha256"] = release.package.sha256
    audit_services.record(
        project=deployment.project, user=user, action=str(Kind(kind).label).lower(), about=str(release or "deployment"),
        details=details,
    )  # fmt: skip
