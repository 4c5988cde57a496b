"""Webhook events about documents: ids and URLs, no texts."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.integrations import webhooks
from labeling.models import Document


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
    webhooks.emit(project, event, payload)
