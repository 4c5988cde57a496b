"""Webhooks and their deliveries."""

from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from pydantic import Field

from labeling.api.access import Slug, caller, object_of, project_of
from labeling.api.operations import operation
from labeling.api.problems import Problem
from labeling.api.schemas import Before, In, Items, Json, Moment, Out, Page, Text, page
from labeling.integrations import deliveries as delivery_service
from labeling.integrations import events
from labeling.integrations import webhooks as service
from labeling.models import Webhook

router = Router(tags=["webhooks"])
#: unknown names are rejected by the service
Events = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(events.EVENTS)})]], Field(min_length=1, max_length=50)
]


class WebhookIn(In):
    """A new webhook."""

    url: Text = Field(max_length=500, description="https:// or http://, of a public host")
    events: Events
    active: bool = True


class WebhookChange(In):
    """Changes of a webhook; omitted values stay."""

    url: Text | None = Field(None, max_length=500)
    events: Events | None = None
    active: bool | None = None


class WebhookOut(Out):
    """A webhook."""

    id: int
    url: str
    events: list[str]
    active: bool
    created_at: Moment


class WebhookSecretOut(WebhookOut):
    """A webhook with its signing secret."""

    secret: str

    @staticmethod
    def resolve_secret(hook: Webhook) -> str:
        """Of the signatures."""
        return delivery_service.secret_of(hook)


class WebhooksOut(Items[WebhookOut]):
    """The webhooks of a project, and the available events."""

    events: dict[str, str]


class DeliveryOut(Out):
    """A delivery to a webhook."""

    id: int
    event: str
    status: str = Field(description="waiting, delivered or given_up")
    attempts: int
    response_code: int | None
    milliseconds: int | None
    error: str
    created_at: Moment
    delivered_at: Moment | None
    next_attempt_at: Moment | None
    payload: Json


@router.get("", summary="List webhooks", **operation("webhooks", WebhooksOut))
def webhooks(request: HttpRequest, slug: Slug) -> Any:
    """The project's webhooks, and the available events."""
    return {"items": project_of(request).webhooks.order_by("pk"), "events": events.EVENTS}


@router.post("", summary="Create a webhook", **operation("webhooks", WebhookSecretOut, 400, status=201))
def add_webhook(request: HttpRequest, slug: Slug, body: WebhookIn) -> Any:
    """Adds a webhook. The response has its signing secret."""
    return Status(201, service.create(project=project_of(request), user=caller(request).user, **body.model_dump()))


@router.get("/{int:pk}", summary="Get a webhook", **operation("webhooks", WebhookOut))
def webhook(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """A webhook."""
    return object_of(request, Webhook, pk=pk)


@router.patch("/{int:pk}", summary="Update a webhook", **operation("webhooks", WebhookOut, 400))
def change_webhook(request: HttpRequest, slug: Slug, pk: int, body: WebhookChange) -> Any:
    """Changes URL, events or active state."""
    hook = object_of(request, Webhook, pk=pk)
    return service.change(webhook=hook, user=caller(request).user, **body.model_dump(exclude_none=True))


@router.delete("/{int:pk}", summary="Delete a webhook", **operation("webhooks", None, status=204))
def remove_webhook(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Deletes a webhook with its log and pending deliveries."""
    service.delete(webhook=object_of(request, Webhook, pk=pk), user=caller(request).user)
    return HttpResponse(status=204)


@router.get("/{int:pk}/secret", summary="Get the secret", **operation("webhooks", WebhookSecretOut))
def webhook_secret(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """The webhook with its signing secret."""
    return object_of(request, Webhook, pk=pk)


@router.post("/{int:pk}/secret", summary="Rotate the secret", **operation("webhooks", WebhookSecretOut))
def new_webhook_secret(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Replaces the signing secret immediately."""
    hook = object_of(request, Webhook, pk=pk)
    service.rotate_secret(webhook=hook, user=caller(request).user)
    return hook


@router.post("/{int:pk}/test", summary="Send a test event", **operation("webhooks", DeliveryOut, status=202))
def test_webhook(request: HttpRequest, slug: Slug, pk: int) -> Any:
    """Sends a ``test`` event. The delivery shows the result."""
    hook = object_of(request, Webhook, pk=pk)
    return Status(202, delivery_service.send_test(webhook=hook, user=caller(request).user))


@router.get("/{int:pk}/deliveries", summary="List deliveries", **operation("webhooks", Page[DeliveryOut]))
def deliveries(request: HttpRequest, slug: Slug, pk: int, before: Before = None) -> Any:
    """The webhook's deliveries, newest first, fifty per page. They are kept for thirty days."""
    return page(object_of(request, Webhook, pk=pk).deliveries.all(), before)


@router.post(
    "/{int:pk}/deliveries/{int:delivery}/redeliver",
    summary="Send a delivery again",
    **operation("webhooks", DeliveryOut, 409, status=202),
)
def redeliver(request: HttpRequest, slug: Slug, pk: int, delivery: int) -> Any:
    """Sends a delivery again with the same id."""
    row = object_of(request, Webhook, pk=pk).deliveries.filter(pk=delivery).first()
    if row is None:
        raise Problem(404, "This webhook has no such delivery.")
    return Status(202, delivery_service.redeliver(delivery=row, user=caller(request).user))
