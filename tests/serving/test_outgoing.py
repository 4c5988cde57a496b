"""The page of outgoing connections: all of them, with hosts and states."""

from typing import Any

import pytest
from django.test import Client

from evaluation.models import Endpoint
from labeling.models import Webhook
from serving.outgoing import connections
from serving.outgoing.connections import State
from tests.evaluation.factories import World


def page(world: World, client: Client) -> Any:
    client.force_login(world.owner)
    response = client.get(f"/p/{world.project.slug}/settings/outgoing/")
    assert response.status_code == 200
    return response


def test_endpoints_and_webhooks_have_their_hosts(world: World, client: Client, settings: Any) -> None:
    settings.OUTBOUND_HOSTS = ["api.openai.com", ".example.com"]
    urls = {"allowed": "https://api.openai.com/v1", "other": "https://llm.example.org:8443/v1"}
    for name, url in urls.items():
        Endpoint.objects.create(project=world.project, name=name, url=url, model="m")
    for active in (True, False):
        hook = "https://hooks.example.com/secret-path"
        Webhook.objects.create(project=world.project, url=hook, events=[], salt="a:b", active=active)
    response = page(world, client)
    rows = [(row.host, row.state) for row in response.context["own"]]
    assert rows == [
        ("api.openai.com", State.ON), ("llm.example.org", State.NOT_ALLOWED),
        ("hooks.example.com", State.ON), ("hooks.example.com", State.OFF),
    ]  # fmt: skip
    assert "secret-path" not in response.content.decode()
    assert all(client.get(row.url).status_code == 200 for row in response.context["own"])


def test_a_removed_endpoint_is_not_listed(world: World, client: Client) -> None:
    Endpoint.objects.create(
        project=world.project, name="a", url="https://a.example/v1", model="m", retired_at="2026-01-01T00:00Z"
    )
    assert page(world, client).context["own"] == []


def test_connections_of_the_installation(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "WANDB_MODE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    names = ("PACKAGE_STORE", "EMAIL_HOST", "OIDC_SERVER_URL", "CLAMD")
    for name in names:
        setattr(settings, name, "")
    settings.OUTBOUND_HOSTS = ["api.openai.com"]
    states = {row.name: row.state for row in connections.of_installation()}
    assert states.pop("Hugging Face hub") == State.NOT_ALLOWED
    assert set(states.values()) == {State.OFF}
    settings.PACKAGE_STORE, settings.EMAIL_HOST = "s3://bucket/packages", "mail.example.com"
    settings.OIDC_SERVER_URL, settings.CLAMD = "https://sso.example.com/realms/a", "10.0.0.7:3310"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://traces.example.com:4318")
    monkeypatch.setenv("WANDB_MODE", "online")
    hosts = {row.name: row.host for row in connections.of_installation() if row.state == State.ON}
    assert hosts == {
        "Weights & Biases": "api.wandb.ai", "Package store": "bucket", "Traces": "traces.example.com",
        "Mail": "mail.example.com", "Sign-in provider": "sso.example.com", "Virus scanner": "10.0.0.7",
    }  # fmt: skip
