"""The serving app's panel on the home of a project, and its next step."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from serving.deployments import queries
from serving.retraining.queries import open_proposals
from slmstudio.access import Action
from slmstudio.panels import NextStep, PanelContent, next_step, register


@register("home", 70)
def deployment_panel(project: Any, user: User) -> PanelContent | None:
    """What answers for the project."""
    address = reverse("deployment", args=[project.slug])
    cell = {"title": "Deployed", "value": "–", "note": "nothing yet", "url": address}
    found = queries.find(project)
    if found is not None and found.stable is not None:
        note = f"{found.get_stage_display()}: version {found.candidate.number}" if found.candidate else "all traffic"
        cell |= {"value": f"v{found.stable.number}", "note": note}
    elif found is not None and found.candidate is not None:
        cell |= {"note": f"version {found.candidate.number} is starting"}
    return PanelContent("", {"strip": [cell]})


@register("home", 72)
def retraining_panel(project: Any, user: User) -> PanelContent | None:
    """The training runs that rules propose."""
    found = open_proposals(project)
    return PanelContent("serving/retraining/panel.html", {"project": project, "proposals": found}) if found else None


@next_step(26)
def retraining_step(project: Any, user: User) -> NextStep | None:
    """For users who may train: a training run that a rule proposes."""
    if Action.RUN not in getattr(project, "can", ()):
        return None
    found = open_proposals(project)
    return NextStep(f"Retrain? {found[0].text}", found[0].button, found[0].url) if found else None


@next_step(24)
def deploy_step(project: Any, user: User) -> NextStep | None:
    """For users who may deploy: the newest approved report, where its model is not deployed."""
    if Action.DEPLOY not in getattr(project, "can", ()):
        return None
    reports = queries.approved_reports(project)
    if not reports:
        return None
    found = queries.find(project)
    deployed = {release.report_id for release in found.serving} if found is not None else set()
    newest = reports[0]
    if newest.pk in deployed:
        return None
    text = f"Gate report {newest.number} is approved, and its model is not deployed."
    return NextStep(text, "Deploy", f"{reverse('deployment', args=[project.slug])}?report={newest.number}#deploy")
