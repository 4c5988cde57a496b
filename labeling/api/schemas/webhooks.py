"""Webhooks and deliveries."""

from typing import Annotated

from pydantic import Field

from labeling.api.schemas.base import In, Json, Out, Text
from labeling.integrations.events import EVENTS

#: unknown names are rejected by the service
Events = Annotated[
    list[Annotated[str, Field(json_schema_extra={"enum": list(EVENTS)})]], Field(min_length=1, max_length=50)
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
    """A webhook. ``secret`` is only present when it was created or requested."""

    id: int
    url: str
    events: list[str]
    active: bool
    created_at: str
    secret: str | None = None


class WebhooksOut(Out):
    """The webhooks of a project, and the available events."""

    items: list[WebhookOut]
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
    created_at: str
    delivered_at: str | None
    next_attempt_at: str | None
    payload: Json


class DeliveriesOut(Out):
    """Deliveries, newest first."""

    items: list[DeliveryOut]
    next_before: int | None = Field(None, description="the next value of before; null on the last page")
