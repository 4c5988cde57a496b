"""The serving app's panel on the home of a project, and its next step."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.translation import ngettext

from serving.deployments import queries
from serving.models import Deployment
from serving.monitoring.alerts import firing
from serving.review.queue import judged_requests, urgent_items
from serving.review.retraining import open_proposals
from slmstudio.access import Action
from slmstudio.panels import NextStep, PanelContent, next_step, register


def _deployment(project: Any) -> Deployment | None:
    """The deployment of a project; the panels of a page share it."""
    if not hasattr(project, "shown_deployment"):
        project.shown_deployment = queries.find(project)
    deployment: Deployment | None = project.shown_deployment
    return deployment


def _proposals(project: Any) -> list[dict[str, Any]]:
    """The open retraining proposals; no query where nothing is deployed."""
    if _deployment(project) is None:
        return []
    if not hasattr(project, "shown_proposals"):
        project.shown_proposals = open_proposals(project)
    proposals: list[dict[str, Any]] = project.shown_proposals
    return proposals


@register("home", 70)
def deployment_panel(project: Any, user: User) -> PanelContent | None:
    """What answers for the project."""
    address = reverse("deployment", args=[project.slug])
    cell = {"title": "Deployed", "value": "–", "note": "Nothing yet", "url": address}
    deployment = _deployment(project)
    if deployment is not None and deployment.stable is not None:
        note = "All traffic"
        if deployment.candidate is not None:
            note = f"{deployment.get_stage_display()}: version {deployment.candidate.number}"
        cell |= {"value": f"v{deployment.stable.number}", "note": note}
    elif deployment is not None and deployment.candidate is not None:
        cell |= {"note": f"version {deployment.candidate.number} is starting"}
    return PanelContent("", {"strip": [cell]})


@register("home", 72)
def retraining_panel(project: Any, user: User) -> PanelContent | None:
    """The training runs that rules propose."""
    proposals = _proposals(project)
    return (
        PanelContent("serving/review/retraining_panel.html", {"project": project, "proposals": proposals})
        if proposals
        else None
    )


@register("document", 60)
def request_panel(document: Any, user: User) -> PanelContent | None:
    """The requests that a document came from, with what was judged about them."""
    judged = judged_requests(document)
    return PanelContent("serving/review/document_panel.html", {"requests": judged}) if judged else None


@next_step(26)
def retraining_step(project: Any, user: User) -> NextStep | None:
    """For users who may train: a training run that a rule proposes."""
    if Action.RUN not in getattr(project, "can", ()):
        return None
    proposals = _proposals(project)
    if not proposals:
        return None
    first = proposals[0]
    return NextStep(f"Retrain? {first['text']}", first["button"], first["url"])


@next_step(28)
def review_step(project: Any, user: User) -> NextStep | None:
    """For users who may review: requests that failed or that callers called wrong, in the review queue."""
    if Action.REVIEW not in getattr(project, "can", ()) or _deployment(project) is None:
        return None
    number = urgent_items(project)
    if not number:
        return None
    text = ngettext(
        "{n:,} request that failed or was judged wrong is in the review queue.",
        "{n:,} requests that failed or were judged wrong are in the review queue.",
        number,
    )
    return NextStep(text.format(n=number), "Review requests", reverse("deploy_review", args=[project.slug]))


@next_step(30)
def try_step(project: Any, user: User) -> NextStep | None:
    """For users who may deploy: to try what is deployed, until its first request."""
    if Action.DEPLOY not in getattr(project, "can", ()):
        return None
    deployment = _deployment(project)
    if deployment is None or deployment.stable is None or queries.was_called(deployment.stable):
        return None
    text = f"{str(deployment.stable).capitalize()} is deployed. No request was sent to it yet."
    return NextStep(text, "Try a document", f"{reverse('deployment', args=[project.slug])}#try")


@register("home", 5)
def alert_panel(project: Any, user: User) -> PanelContent | None:
    """The alerts that fire; no query where nothing is deployed."""
    alerts = firing(project) if _deployment(project) is not None else []
    return PanelContent("serving/monitoring/firing_panel.html", {"firing": alerts}) if alerts else None


@next_step(24)
def deploy_step(project: Any, user: User) -> NextStep | None:
    """For users who may deploy: the newest approved report, where its model is not deployed."""
    if Action.DEPLOY not in getattr(project, "can", ()):
        return None
    reports = queries.approved_reports(project)
    if not reports:
        return None
    deployment = _deployment(project)
    deployed = {release.report_id for release in deployment.serving} if deployment is not None else set()
    newest = reports[0]
    if newest.pk in deployed:
        return None
    if deployment is not None and deployment.stable_id is not None and queries.was_deployed(newest):
        return None  # it was taken back: no one has to deploy it again
    text = f"Gate report {newest.number} is approved, but its model is not deployed."
    return NextStep(text, "Deploy", f"{reverse('deployment', args=[project.slug])}?report={newest.number}#deploy")
