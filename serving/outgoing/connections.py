"""Every kind of connection that carries data out of the studio: those that a project added, and those of the
installation. None is left out because it is off: the list answers what can leave.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from django.conf import settings
from django.urls import reverse

from evaluation.models import Endpoint
from labeling.models import Project, Webhook
from slmstudio.errors import Refused
from slmstudio.web import outbound


class State(StrEnum):
    """Whether data can leave by a connection now."""

    ON = "on"
    OFF = "off"
    NOT_ALLOWED = "not allowed"


@dataclass(frozen=True)
class Connection:
    """``host``: "" where none is configured. ``setting``: the variables that decide about one of the installation;
    ``url``: the page of one of the project."""

    name: str
    host: str
    sends: str
    state: State
    setting: str = ""
    url: str = ""


def of_project(project: Project) -> list[Connection]:
    """Endpoints, then webhooks, by name."""
    return [*_endpoints(project), *_webhooks(project)]


def of_installation() -> list[Connection]:
    """Those that settings decide, as this process knows them: workers and gateways may have other variables."""
    traces = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    tracker = os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"
    online = os.environ.get("WANDB_MODE") == "online"
    return [
        Connection("Hugging Face hub", _host(hub), _HUB, _hub_state(), "HF_ENDPOINT, OUTBOUND_HOSTS"),
        Connection("Weights & Biases", _host(tracker), _TRACKER, State.ON if online else State.OFF, "WANDB_MODE"),
        _configured("Package store", settings.PACKAGE_STORE, _PACKAGES, "PACKAGE_STORE"),
        _configured("Traces", traces, _TRACES, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        _configured("Mail", settings.EMAIL_HOST, _MAIL, "EMAIL_HOST"),
        _configured("Sign-in provider", settings.OIDC_SERVER_URL, _PROVIDER, "OIDC_SERVER_URL"),
        _configured("Virus scanner", settings.CLAMD, _SCANNER, "CLAMD"),
    ]


_ENDPOINT = "Prompts with texts of documents: pre-labels, evaluations, answers of the larger model, captured requests"
_WEBHOOK = "IDs, addresses and statuses of what happened; no texts"
_HUB = "Names of models that are downloaded; packages that an engineer pushes"
_TRACKER = "Loss curves and settings of runs that chose it"
_PACKAGES = "Packages of models"
_TRACES = "Times of requests to the gateway; texts with OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_MAIL = "Alerts with figures, invitations, links to reset passwords"
_PROVIDER = "Requests to sign in"
_SCANNER = "Files that are imported, to be scanned"


def _endpoints(project: Project) -> Iterator[Connection]:
    for endpoint in Endpoint.objects.in_use(project):
        host = _host(endpoint.url)
        page = endpoint.get_absolute_url()
        yield Connection(f"Endpoint {endpoint.name}", host, _ENDPOINT, _state(host), url=page)


def _webhooks(project: Project) -> Iterator[Connection]:
    for webhook in Webhook.objects.filter(project=project).order_by("pk"):
        host = _host(webhook.url)
        state = _state(host) if webhook.active else State.OFF
        page = reverse("webhook", args=[project.slug, webhook.pk])
        yield Connection(f"Webhook {webhook.pk}", host, _WEBHOOK, state, url=page)


def _configured(name: str, place: str, sends: str, setting: str) -> Connection:
    return Connection(name, _host(place), sends, State.ON if place else State.OFF, setting)


def _host(place: str) -> str:
    """The host of an address, and of ``host:port``; a path, or a socket, is its own name."""
    if "://" in place:
        return urlsplit(place).hostname or ""
    return place if place.startswith(("/", "unix:")) else place.partition(":")[0]


def _state(host: str) -> State:
    if host in settings.OUTBOUND_ALLOW:
        return State.ON
    try:
        outbound.require_listed(host)
    except Refused:
        return State.NOT_ALLOWED
    return State.ON


def _hub_state() -> State:
    try:
        outbound.require_hub()
    except Refused:
        return State.NOT_ALLOWED
    return State.ON
