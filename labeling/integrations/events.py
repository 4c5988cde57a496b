"""Webhook events of a project: ids and URLs, no texts."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.integrations import deliveries
from labeling.models import Document, Project, Webhook
from slmstudio.runs.models import BackgroundRun, Status

#: event -> what happened
EVENTS: dict[str, str] = {
    "document.submitted": "Label submitted",
    "document.approved": "Label approved in review",
    "document.approval_undone": "Approval of a label undone",
    "document.rejected": "Label rejected in review",
    "document.skipped": "Document skipped",
    "comment.added": "Comment added to a document",
    "import.finished": "Import ended",
    "dataset.frozen": "Dataset version frozen",
    "prelabel.finished": "Pre-label run ended",
    "training.completed": "Training run completed",
    "training.failed": "Training run failed",
    "training.cancelled": "Training run cancelled",
    "evaluation.completed": "Evaluation completed",
    "evaluation.failed": "Evaluation failed",
    "evaluation.cancelled": "Evaluation cancelled",
    "gate_report.created": "Gate report created, with its verdict",
    "gate_report.approved": "Gate report approved",
    "gate_report.rejected": "Gate report rejected",
    "gate_report.withdrawn": "Approval withdrawn",
    "retraining.proposed": "Training run proposed by a rule",
    "alert.firing": "Deployment exceeds a limit",
    "alert.resolved": "Deployment is within a limit again",
    "batch.finished": "Batch completed or stopped",
}
#: groups of events on the page of a webhook, by the first part of their names
GROUPS: dict[str, tuple[str, ...]] = {
    "Labels": ("document", "comment"),
    "Data": ("import", "dataset", "prelabel"),
    "Models": ("training", "evaluation", "retraining"),
    "Gates and approval": ("gate_report",),
    "Deployment": ("alert", "batch"),
}
#: the last part of the event of a run, by its status
_ENDINGS = {Status.DONE: "completed", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}


def emit(project: Project, event: str, payload: dict[str, Any]) -> None:
    """Sends an event to the project's webhooks after commit. No query if none subscribes to it.

    ``project.webhook_events`` must be loaded; ``payload`` is JSON: ids and URLs, no texts. Call it inside the
    transaction of the event.
    """
    if event not in project.webhook_events:
        return
    hooks = Webhook.objects.filter(project=project, active=True, events__contains=[event]).values_list("pk", flat=True)
    deliveries.send(hooks, event, payload)


def emit_document_event(event: str, document: Document, user: User, **more: Any) -> None:
    """Emits an event about a document. Call it inside the transaction of the change."""
    project = document.project
    payload = {
        "project": project.slug,
        "document": document.pk,
        "external_id": document.external_id,
        "url": reverse("document", args=[project.slug, document.pk]),
        "user": user.get_username() if user is not None else None,
        **more,
    }
    emit(project, event, payload)


def emit_run_ended(kind: str, run: BackgroundRun, project_id: int, payload: Callable[[], dict[str, Any]]) -> None:
    """Emits ``KIND.completed``, ``KIND.failed`` or ``KIND.cancelled``. Call it inside the transaction of the end.

    ``payload``: what the event says besides status and error; it is only called if a webhook subscribes to it.
    """
    # Its job may have read the project hours ago.
    project = Project.objects.get(pk=project_id)
    event = f"{kind}.{_ENDINGS[Status(run.status)]}"
    if event in project.webhook_events:
        emit(project, event, {**payload(), "status": run.status, "error": run.error})
