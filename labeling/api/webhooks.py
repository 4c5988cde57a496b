"""Webhooks and their deliveries."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem, field_problem
from labeling.api.schemas.webhooks import DeliveriesOut, DeliveryOut, WebhookChange, WebhookIn, WebhookOut, WebhooksOut
from labeling.api.wire import answer, at, nothing
from labeling.integrations import deliveries as delivery_service
from labeling.integrations import events
from labeling.integrations import webhooks as service
from labeling.models import Webhook, WebhookDelivery
from slmstudio.errors import Refused
from slmstudio.web.paging import page

router = Router(tags=["webhooks"])
PER_PAGE = 50


@router.get("", summary="List webhooks", **operation("webhooks", WebhooksOut))
def webhooks(request: HttpRequest, slug: Slug) -> HttpResponse:
    """The project's webhooks, and the available events."""
    project = project_of(request)
    return answer({"items": [_out(hook) for hook in project.webhooks.order_by("pk")], "events": events.EVENTS})


@router.post("", summary="Create a webhook", **operation("webhooks", WebhookOut, 400, 422, status=201))
def add_webhook(request: HttpRequest, slug: Slug, body: WebhookIn) -> HttpResponse:
    """Adds a webhook. The response has its signing secret."""
    project = project_of(request)
    try:
        hook = service.create(
            project=project, user=caller(request).user, url=body.url, events=body.events, active=body.active
        )
    except Refused as refusal:
        raise field_problem(refusal.field, refusal.message) from refusal
    return answer(_out(hook, secret=delivery_service.secret_of(hook)), 201)


@router.get("/{int:pk}", summary="Get a webhook", **operation("webhooks", WebhookOut))
def webhook(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """A webhook."""
    hook = object_of(request, Webhook, pk=pk)
    return answer(_out(hook))


@router.patch("/{int:pk}", summary="Update a webhook", **operation("webhooks", WebhookOut, 400, 422))
def change_webhook(request: HttpRequest, slug: Slug, pk: int, body: WebhookChange) -> HttpResponse:
    """Changes URL, events or active state."""
    hook = object_of(request, Webhook, pk=pk)
    try:
        hook = service.change(webhook=hook, user=caller(request).user, **body.model_dump(exclude_none=True))
    except Refused as refusal:
        raise field_problem(refusal.field, refusal.message) from refusal
    return answer(_out(hook))


@router.delete("/{int:pk}", summary="Delete a webhook", **operation("webhooks", None, status=204))
def remove_webhook(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Deletes a webhook with its log and pending deliveries."""
    hook = object_of(request, Webhook, pk=pk)
    service.delete(webhook=hook, user=caller(request).user)
    return nothing()


@router.get("/{int:pk}/secret", summary="Get the secret", **operation("webhooks", WebhookOut))
def webhook_secret(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """The webhook with its signing secret."""
    hook = object_of(request, Webhook, pk=pk)
    return answer(_out(hook, secret=delivery_service.secret_of(hook)))


@router.post("/{int:pk}/secret", summary="Rotate the secret", **operation("webhooks", WebhookOut))
def new_webhook_secret(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Replaces the signing secret immediately."""
    hook = object_of(request, Webhook, pk=pk)
    secret = service.rotate_secret(webhook=hook, user=caller(request).user)
    return answer(_out(hook, secret=secret))


@router.post("/{int:pk}/test", summary="Send a test event", **operation("webhooks", DeliveryOut, status=202))
def test_webhook(request: HttpRequest, slug: Slug, pk: int) -> HttpResponse:
    """Sends a ``test`` event. The delivery shows the result."""
    hook = object_of(request, Webhook, pk=pk)
    return answer(_delivery(delivery_service.send_test(webhook=hook, user=caller(request).user)), 202)


@router.get("/{int:pk}/deliveries", summary="List deliveries", **operation("webhooks", DeliveriesOut, 422))
def deliveries(
    request: HttpRequest, slug: Slug, pk: int, before: int | None = Query(None, ge=1, lt=2**63)
) -> HttpResponse:
    """The webhook's deliveries, newest first, fifty per page. They are kept for thirty days."""
    hook = object_of(request, Webhook, pk=pk)
    log = page(hook.deliveries.all(), after=before, newest=True, size=PER_PAGE)
    return answer({"items": [_delivery(row) for row in log.rows], "next_before": log.after})


@router.post(
    "/{int:pk}/deliveries/{int:delivery}/redeliver",
    summary="Send a delivery again",
    **operation("webhooks", DeliveryOut, 409, status=202),
)
def redeliver(request: HttpRequest, slug: Slug, pk: int, delivery: int) -> HttpResponse:
    """Sends a delivery again with the same id."""
    hook = object_of(request, Webhook, pk=pk)
    row = WebhookDelivery.objects.filter(webhook=hook, pk=delivery).first()
    if row is None:
        raise Problem(404, "This webhook has no such delivery.")
    try:
        return answer(_delivery(delivery_service.redeliver(delivery=row, user=caller(request).user)), 202)
    except Refused as refusal:
        raise Problem(409, refusal.message) from refusal


def _out(hook: Webhook, **more: Any) -> dict[str, Any]:
    return {
        "id": hook.pk,
        "url": hook.url,
        "events": hook.events,
        "active": hook.active,
        "created_at": at(hook.created_at),
        **more,
    }


def _delivery(row: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": row.pk,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "response_code": row.response_code,
        "milliseconds": row.milliseconds,
        "error": row.error,
        "created_at": at(row.created_at),
        "delivered_at": at(row.delivered_at),
        "next_attempt_at": at(row.next_attempt_at),
        "payload": row.payload,
    }
