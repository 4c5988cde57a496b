"""Starts, draws, stops and certifies comparisons."""

from dataclasses import asdict
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import GateReport
from evaluation.stats import alpha_level
from labeling.models import Project
from serving.comparisons import certificate, labels, split
from serving.comparisons.labels import LabelPlan, Measure, Method
from serving.comparisons.replay import MAX_REQUESTS
from serving.comparisons.split import Question, Split
from serving.deployments import services as deployment_services
from serving.models import Deployment, Stage, TrafficComparison
from serving.rollouts.log_counts import pending
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

Kind, Verdict = TrafficComparison.Kind, TrafficComparison.Verdict


def start_split(
    *, project: Project, user: User, report: GateReport, question: str, share: float = 0.5, engine: str = ""
) -> TrafficComparison:
    """Gives an approved version a fixed share of the requests, to compare it with the stable one for one question.

    A candidate of the same model goes on as B; another one has to be aborted first.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is question, share, report or stage: a split runs, callers are sticky, nothing is stable.
    """
    require(project, user, Action.DEPLOY)
    if question not in Question.values:
        raise Refused(f"Select a question: {', '.join(Question.values)}.", field="question", code="question")
    deployment = Deployment.objects.filter(project=project).first()
    if deployment is None or deployment.stable_id is None:
        raise Refused("Nothing is deployed yet.", field="stage", code="no_stable")
    if deployment.sticky:
        raise Refused(
            "This deployment always sends a caller to the same version. Turn that option off to split requests.",
            field="stage",
            code="busy",
        )
    if TrafficComparison.objects.splits().filter(project=project).exists():
        raise Refused("A live split is already running. Stop it first.", field="stage", code="busy")
    now = timezone.now()
    limit = split.median_ms(project.pk, deployment.stable_id, now) if question == Question.LATENCY else None
    if question == Question.LATENCY and limit is None:
        raise Refused(
            "The stable version answered no requests in the last day, so its latency is unknown. "
            "Choose another question.",
            field="question",
            code="latency",
        )  # fmt: skip
    with transaction.atomic():
        deployment = deployment_services.deploy(
            project=project, user=user, stage=Stage.CANARY, report=report, share=share, engine=engine
        )
        plan = Split(question=question, share=deployment.share, limit_ms=limit)
        return _create(deployment, user, Kind.SPLIT, asdict(plan), status=Status.RUNNING, started_at=timezone.now())


def start_labels(
    *,
    deployment: Deployment,
    user: User,
    margin: float,
    measure: str = Measure.DOCUMENT,
    method: str = Method.ANYTIME,
    family: str = "",
    documents: int | None = None,
) -> TrafficComparison:
    """Plans a comparison of the candidate with the stable version on labeled documents, before they are labeled.

    ``documents``: to label; None: as many as the planner says.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: there is no candidate, or ``field`` is out of range.
    """
    require(deployment.project, user, Action.DEPLOY)
    project, stable, candidate = deployment.project, deployment.stable, deployment.candidate
    if candidate is None or stable is None:
        raise Refused(
            "This comparison needs a stable version and a candidate. Deploy a candidate to shadow first.",
            field="form",
            code="no_candidate",
        )
    if not 0.001 <= margin <= 0.5:
        raise Refused("Enter a margin between 0.1 and 50 points.", field="margin", code="margin")
    for name, value, choices in (("measure", measure, Measure), ("method", method, Method)):
        if value not in choices.values:
            raise Refused(f"Select one of: {', '.join(choices.values)}.", field=name, code=name)
    with transaction.atomic():
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        attempt = labels.attempt_of(project, stable)
        alpha = alpha_level(attempt)
        if documents is None:
            differing = labels.differing_share(project, labels.logged_pairs(project, stable, candidate))
            documents = labels.documents_for(margin, differing, alpha)
        if documents is None:
            raise Refused(
                "This margin would take too many labels to prove. Enter a larger margin.", field="margin", code="margin"
            )
        if not 1 <= documents <= labels.MAX_DOCUMENTS:
            raise Refused(f"Enter 1 to {labels.MAX_DOCUMENTS:,} documents.", field="documents", code="documents")
        plan = LabelPlan(margin, documents, alpha, attempt, measure, method, family)
        return _create(deployment, user, Kind.SHADOW, asdict(plan), status=Status.RUNNING, started_at=timezone.now())


def start_replay(*, deployment: Deployment, user: User, limit: int) -> TrafficComparison:
    """Queues a replay of at most ``limit`` logged requests for the candidate in shadow.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: there is no candidate in shadow, a replay runs, or no stored request is left; ``field`` may be limit.
    """
    require(deployment.project, user, Action.DEPLOY)
    candidate, stable = deployment.candidate, deployment.stable
    if deployment.stage != Stage.SHADOW or candidate is None or stable is None:
        raise Refused("Only a candidate in shadow can answer a replay.", field="form", code="no_candidate")
    if not 1 <= limit <= MAX_REQUESTS:
        raise Refused(f"Enter 1 to {MAX_REQUESTS:,} requests.", field="limit", code="limit")
    with transaction.atomic():
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        if TrafficComparison.objects.replays().live().filter(project=deployment.project).exists():
            raise Refused("A replay is already running.", field="form", code="busy")
        left = pending(deployment.project, stable, candidate, limit)
        if not left:
            raise Refused("The candidate has already answered every stored request.", field="limit", code="nothing")
        replay = _create(deployment, user, Kind.REPLAY, {"limit": limit}, progress_total=len(left))
        replay.enqueue()
    return replay


def _create(deployment: Deployment, user: User, kind: str, plan: dict[str, Any], **values: Any) -> TrafficComparison:
    project = deployment.project
    assert deployment.stable is not None
    assert deployment.candidate is not None
    comparison = TrafficComparison(
        project=project, number=project.next_number(TrafficComparison), kind=kind, a=deployment.stable,
        b=deployment.candidate, plan=plan, created_by=user, **values,
    )  # fmt: skip
    comparison.full_clean()
    comparison.save()
    _record(comparison, user, "started", kind=kind, plan=plan)
    return comparison


def draw(*, comparison: TrafficComparison, user: User) -> int:
    """Draws the documents of a comparison on labeled documents that are missing. Returns how many were drawn now.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it has ended, or is of another kind.
    """
    require(comparison.project, user, Action.DEPLOY)
    if comparison.kind != Kind.SHADOW or not comparison.is_live:
        raise Refused("Documents can only be sampled before the certificate is issued.", field="form", code="ended")
    drawn = labels.draw_documents(comparison, user)
    _record(comparison, user, "drew", documents=drawn)
    return drawn


def stop(*, comparison: TrafficComparison, user: User, keep_b: bool = False) -> TrafficComparison:
    """Ends a live split, or cancels a replay; what was counted stays. ``keep_b``: B of a split answers everything;
    else it is taken out.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: it has ended, or is of another kind.
    """
    require(comparison.project, user, Action.DEPLOY)
    project = comparison.project
    if comparison.kind == Kind.SHADOW:
        raise Refused("This comparison ends when its certificate is issued.", field="form", code="kind")
    if comparison.kind == Kind.REPLAY:
        if not comparison.cancel():
            raise Refused("The replay has already ended.", field="form", code="ended")
        return comparison
    split.check(comparison.pk, timezone.now())
    with transaction.atomic():
        comparison = TrafficComparison.objects.select_for_update(of=("self",)).get(pk=comparison.pk)
        comparison.project = project
        if not comparison.is_live:
            raise Refused("The live split has already ended.", field="form", code="ended")
        comparison.status, comparison.finished_at = Status.DONE, timezone.now()
        comparison.save(update_fields=["status", "finished_at"])
        deployment = Deployment.objects.get(project=project)
        deployment.project = project
        if deployment.candidate_id == comparison.b_id:
            end = deployment_services.promote if keep_b else deployment_services.abort
            end(deployment=deployment, user=user, reason=f"End of {comparison}.")
        _record(comparison, user, "stopped", verdict=comparison.verdict, **comparison.result)
    return comparison


def issue(*, comparison: TrafficComparison, user: User) -> TrafficComparison:
    """Issues the certificate of a comparison: stores what it shows with its hashes, and ends it.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: nothing is shown yet, a split still runs, or it was issued already.
    """
    require(comparison.project, user, Action.DEPLOY)
    project = comparison.project
    with transaction.atomic():
        comparison = TrafficComparison.objects.select_for_update(of=("self",)).get(pk=comparison.pk)
        comparison.project = project
        if comparison.sha256:
            raise Refused("The certificate was already issued.", field="form", code="issued")
        shown = labels.labeled(comparison) if comparison.kind == Kind.SHADOW else None
        verdict = shown.verdict if shown is not None else comparison.verdict
        if not verdict:
            raise Refused(
                "The comparison has not shown its result yet. Let it count more requests or label more documents.",
                field="form",
                code="not_shown",
            )
        if comparison.kind == Kind.SPLIT and comparison.is_live:
            raise Refused("Stop the live split first.", field="form", code="busy")
        now = timezone.now()
        comparison.issued_at = now
        if shown is not None:
            comparison.verdict, comparison.decided_at = verdict, now
            comparison.status, comparison.finished_at = Status.DONE, now
        comparison.content = certificate.content_of(comparison, shown)
        comparison.sha256 = certificate.content_hash(comparison.content)
        comparison.save()
        _record(comparison, user, "issued", outcome=str(verdict), sha256=comparison.sha256)
    return comparison


def _record(comparison: TrafficComparison, user: User, action: str, **details: Any) -> None:
    audit_services.record(project=comparison.project, user=user, action=action, about=str(comparison), details=details)
