"""The webhooks of a project: add, change and delete them."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from labeling.integrations.deliveries import count_timeout, new_salt, secret_of
from labeling.integrations.events import EVENTS
from labeling.models import Project, Webhook
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit
from slmstudio.web import outbound

MAX_WEBHOOKS = 20


def create(*, project: Project, user: User, url: str, events: Iterable[str], active: bool = True) -> Webhook:
    """Creates a webhook.

    Raises:
        Refused: the URL or an event is invalid, or the project has too many webhooks.
    """
    require(project, user, Action.ADMINISTER)
    hook = Webhook(project=project, salt=new_salt(), created_by=user)
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if project.webhooks.count() >= MAX_WEBHOOKS:
            raise Refused(f"A project can have at most {MAX_WEBHOOKS} webhooks. Delete one first.", field="form")
        _fill(hook, url, events, active)
        hook.save()
        _note_events(project)
        note_audit(project=project, user=user, action="added", about=f"webhook {hook.pk}", details=_details(hook))
    return hook


def change(
    *,
    webhook: Webhook,
    user: User,
    url: str | None = None,
    events: Iterable[str] | None = None,
    active: bool | None = None,
) -> Webhook:
    """Changes a webhook; None keeps a value.

    Raises:
        Refused: see ``create``.
    """
    require(webhook.project, user, Action.ADMINISTER)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=webhook.project_id)
        hook = Webhook.objects.select_for_update().get(pk=webhook.pk)
        before = _details(hook)
        _fill(
            hook,
            hook.url if url is None else url,
            hook.events if events is None else events,
            hook.active if active is None else active,
        )
        hook.save(update_fields=["url", "events", "active"])
        _note_events(project)
        if before != _details(hook):
            details = {"before": before, "after": _details(hook)}
            note_audit(project=project, user=user, action="changed", about=f"webhook {hook.pk}", details=details)
        transaction.on_commit(lambda: count_timeout(hook.pk, timed_out=False))  # ends a suspension
    hook.project = project
    return hook


def rotate_secret(*, webhook: Webhook, user: User) -> str:
    """Replaces the secret of a webhook."""
    require(webhook.project, user, Action.ADMINISTER)
    webhook.salt = new_salt()
    with transaction.atomic():
        webhook.save(update_fields=["salt"])
        note_audit(project=webhook.project, user=user, action="changed the secret of", about=f"webhook {webhook.pk}")
    return secret_of(webhook)


def delete(*, webhook: Webhook, user: User) -> None:
    """Deletes a webhook with its log and pending deliveries."""
    require(webhook.project, user, Action.ADMINISTER)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=webhook.project_id)
        note_audit(
            project=project, user=user, action="removed", about=f"webhook {webhook.pk}", details=_details(webhook)
        )
        Webhook.objects.filter(pk=webhook.pk).delete()
        _note_events(project)


def _details(hook: Webhook) -> dict[str, Any]:
    return {"url": redacted_url(hook.url), "events": list(hook.events), "active": hook.active}


def _fill(hook: Webhook, url: str, events: Iterable[str], active: bool) -> None:
    chosen = set(events)
    unknown = sorted(chosen.difference(EVENTS))
    if unknown:
        raise Refused(f"Unknown event {unknown[0]}. The events are {', '.join(EVENTS)}.", field="events")
    if not chosen:
        raise Refused("Select at least one event.", field="events")
    if url != hook.url:
        try:
            outbound.check(url)
        except Refused as error:
            raise Refused(str(error), field="url") from error
    hook.url, hook.events, hook.active = url, [name for name in EVENTS if name in chosen], active
    try:
        hook.full_clean(exclude=["project", "created_by"])
    except ValidationError as error:
        raise Refused(" ".join(error.messages), field="url") from error


def _note_events(project: Project) -> None:
    """Stores the subscribed events on the project, so ``emit`` needs no query for others."""
    subscribed: set[str] = set()
    for events in Webhook.objects.filter(project=project, active=True).values_list("events", flat=True):
        subscribed.update(events)
    project.webhook_events = [name for name in EVENTS if name in subscribed]
    Project.objects.filter(pk=project.pk).update(webhook_events=project.webhook_events)


def redacted_url(url: str) -> str:
    """A URL without parts that can be secret: scheme and host only."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"
