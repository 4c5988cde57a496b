"""Webhook events of a project: ids and URLs, no texts."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.integrations import deliveries
from labeling.models import Document, Project, Webhook

#: event -> what happened
EVENTS: dict[str, str] = {
    "document.submitted": "a label was submitted",
    "document.approved": "a label was approved in review",
    "document.rejected": "a label was rejected in review",
    "document.skipped": "a document was skipped",
    "comment.added": "a comment was added to a document",
    "import.finished": "an import ended",
    "dataset.frozen": "a dataset version was frozen",
    "prelabel.finished": "a pre-label run ended",
    "retraining.proposed": "a rule proposed a training run",
    "alert.firing": "a deployment exceeds a limit",
    "alert.resolved": "a deployment is within a limit again",
    "batch.finished": "a batch of documents was answered, or stopped",
}


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
