"""What a project's webhooks are told about a document: ids and addresses, no texts."""

from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from labeling.integrations import webhooks
from labeling.models import Document


def tell(event: str, document: Document, user: User, **more: Any) -> None:
    """Tells what a person did to a document; to be called inside the transaction of what it tells of."""
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
