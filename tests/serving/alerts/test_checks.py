"""Alerts fire and resolve on figures of the log, with a clock that the tests hand in."""

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core import mail

from labeling.integrations import deliveries, webhooks
from labeling.models import WebhookDelivery
from serving.alerts import checks, rules
from serving.alerts.mail import send_waiting
from serving.deployments import services
from serving.models import AlertEvent, AlertRule, Deployment, DriftCheck, Package, Replica
from serving.traffic.counting import count_marked
from slmstudio.runs.models import Status
from tests.evaluation.factories import World
from tests.servers import in_thread
from tests.serving.rollouts.rows import deployed
from tests.serving.traffic.rows import logged
from tests.shared_rows import shared_fixture

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
Kind = AlertEvent.Kind


@shared_fixture
def deployment(world: World) -> Deployment:
    """A stable version; only the alert on failures is on."""
    found = deployed(world)
    rules.ensure_rules(found.project)
    AlertRule.objects.exclude(metric="failures").update(enabled=False)
    return found


def rule_of(metric: str = "failures", **changes: Any) -> AlertRule:
    AlertRule.objects.filter(metric=metric).update(enabled=True, **changes)
    return AlertRule.objects.get(metric=metric)


def pass_minutes(deployment: Deployment, first: int, last: int, *, failed: int, good: int) -> None:
    """Requests in each minute, and checks every 15 seconds."""
    for minute in range(first, last):
        at = START + timedelta(minutes=minute)
        logged(deployment.project_id, at, good, release=deployment.stable)
        logged(deployment.project_id, at, failed, release=deployment.stable, status=503, code="no_replica", valid=None)
        for seconds in (0, 15, 30, 45):
            now = at + timedelta(seconds=seconds)
            count_marked(now)
            checks.check_all(now)


def kinds() -> list[tuple[str, datetime]]:
    return list(AlertEvent.objects.order_by("pk").values_list("kind", "created_at"))


def test_failures_fire_after_five_minutes_and_resolve(deployment: Deployment) -> None:
    pass_minutes(deployment, 0, 4, failed=0, good=20)
    assert kinds() == []
    pass_minutes(deployment, 4, 9, failed=10, good=20)
    assert (rule_of().state, kinds()) == ("pending", [])
    pass_minutes(deployment, 9, 10, failed=10, good=20)
    fired_at = START + timedelta(minutes=9)
    assert kinds() == [(Kind.FIRING, fired_at)]
    event = AlertEvent.objects.get()
    assert (event.metric, event.limit) == ("failures", 0.05)
    assert event.value == pytest.approx(60 / 260, abs=0.02)
    # The window of ten minutes has to pass first, then five minutes below the margin.
    pass_minutes(deployment, 10, 27, failed=0, good=20)
    assert [kind for kind, _ in kinds()] == [Kind.FIRING, Kind.RESOLVED]
    resolved_at = kinds()[1][1]
    assert START + timedelta(minutes=24) <= resolved_at <= START + timedelta(minutes=27)
    assert rule_of().state == "ok"


def test_a_short_spike_does_not_fire(deployment: Deployment) -> None:
    AlertRule.objects.filter(metric="failures").update(window_seconds=60)
    pass_minutes(deployment, 0, 2, failed=20, good=20)
    assert rule_of().state == "pending"
    pass_minutes(deployment, 2, 8, failed=0, good=20)
    assert (rule_of().state, kinds()) == ("ok", [])


def test_few_requests_conclude_nothing(deployment: Deployment) -> None:
    pass_minutes(deployment, 0, 9, failed=1, good=0)
    found = rule_of()
    assert (found.state, found.value) == ("ok", None)


@pytest.mark.parametrize(("missing_fires", "expected"), [(False, []), (True, [Kind.FIRING])])
def test_no_traffic_is_an_alarm_where_the_rule_says_so(
    deployment: Deployment, missing_fires: bool, expected: list[str]
) -> None:
    rule_of(missing_fires=missing_fires)
    pass_minutes(deployment, 0, 8, failed=0, good=0)
    assert [kind for kind, _ in kinds()] == expected


def test_shadow_requests_do_not_count(deployment: Deployment) -> None:
    for minute in range(8):
        at = START + timedelta(minutes=minute)
        logged(deployment.project_id, at, 30, status=502, shadow_of="0" * 32, release=deployment.stable)
        count_marked(at)
        checks.check_all(at)
    assert kinds() == []


@pytest.mark.parametrize(("metric", "changes", "limit"), [
    ("invalid", {"status": 502, "valid": False}, 0.5), ("p95", {"total_ms": 20_000.0}, 10_000),
    ("queue", {"queue_ms": 9_000.0}, 5_000), ("rejected", {"status": 429, "valid": None}, 0.01),
    ("fallback", {"source": "fallback"}, 0.3),
])  # fmt: skip
def test_each_metric_fires(deployment: Deployment, metric: str, changes: dict[str, Any], limit: float) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of(metric, limit=limit, for_seconds=0, min_requests=20)
    logged(deployment.project_id, START, 40, release=deployment.stable, **changes)
    count_marked(START)
    checks.check_all(START)
    assert list(AlertEvent.objects.values_list("metric", "kind")) == [(metric, Kind.FIRING)]


def test_a_version_without_replicas_fires(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("replicas")
    checks.check_all(START)
    assert kinds() == []
    Replica.objects.all().delete()
    for seconds in range(0, 150, 15):
        checks.check_all(START + timedelta(seconds=30 + seconds))
    assert kinds() == [(Kind.FIRING, START + timedelta(seconds=150))]
    assert AlertEvent.objects.get().sentence.endswith(f"{deployment.stable}.")


def test_a_version_whose_package_is_being_built_does_not_fire(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("replicas", for_seconds=0)
    Replica.objects.all().delete()
    Package.objects.update(status=Status.RUNNING)
    checks.check_all(START)
    assert kinds() == []
    Package.objects.update(status=Status.DONE)
    checks.check_all(START + timedelta(seconds=15))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING]


def test_little_traffic_fires_below_a_limit(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("traffic", limit=1.0, for_seconds=0, window_seconds=600)
    logged(deployment.project_id, START, 30, release=deployment.stable)
    count_marked(START)
    checks.check_all(START)
    assert kinds() == []
    checks.check_all(START + timedelta(minutes=30))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING]


def test_drift_fires_and_resolves_with_the_daily_check(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("drift")
    finding = {
        "metric": "length", "kind": "number", "p": 1e-9, "adjusted": 1e-8, "effect": 0.4, "reference": 200.0,
        "live": 900.0, "reference_count": 100, "live_count": 500, "category": "", "changed": True,
    }  # fmt: skip
    values: dict[str, Any] = {"project": deployment.project, "release": deployment.stable}
    DriftCheck.objects.create(day=START.date() - timedelta(days=1), findings=[finding], changed=1, **values)
    checks.check_all(START)
    assert [kind for kind, _ in kinds()] == [Kind.FIRING]
    assert "900" in AlertEvent.objects.get().sentence
    DriftCheck.objects.create(day=START.date(), findings=[{**finding, "changed": False}], changed=0, **values)
    for minute in range(7):
        checks.check_all(START + timedelta(hours=13, minutes=minute))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING, Kind.RESOLVED]


def test_stopping_the_deployment_resolves(world: World, deployment: Deployment) -> None:
    pass_minutes(deployment, 0, 7, failed=10, good=20)
    assert rule_of().state == "firing"
    services.stop(deployment=deployment, user=world.engineer, reason="Done.")
    checks.check_all(START + timedelta(minutes=8))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING, Kind.RESOLVED]


def test_two_hosts_inform_once(deployment: Deployment) -> None:
    rule_of(for_seconds=0)
    logged(deployment.project_id, START, 40, status=503, release=deployment.stable)
    count_marked(START)
    assert [checks.check_all(START), checks.check_all(START + timedelta(seconds=2))] == [1, 0]
    assert len(kinds()) == 1


def fire(deployment: Deployment) -> AlertEvent:
    rule_of(for_seconds=0)
    logged(deployment.project_id, START, 40, status=503, release=deployment.stable)
    count_marked(START)
    checks.check_all(START)
    return AlertEvent.objects.get()


def test_mail_goes_to_the_recipients_once(world: World, deployment: Deployment, settings: Any) -> None:
    rules.set_recipients(project=world.project, user=world.engineer, addresses=["a@example.com", "b@example.com"])
    event = fire(deployment)
    assert event.mail == AlertEvent.Mail.WAITING
    assert [send_waiting(START), send_waiting(START)] == [1, 0]
    [message] = mail.outbox
    assert (message.bcc, message.to) == (["a@example.com", "b@example.com"], [])
    assert event.sentence in message.body
    event.refresh_from_db()
    assert event.mail == AlertEvent.Mail.SENT


def test_mail_is_tried_again(world: World, deployment: Deployment, settings: Any) -> None:
    rules.set_recipients(project=world.project, user=world.engineer, addresses=["a@example.com"])
    event = fire(deployment)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", 1, False
    assert send_waiting(START) == 0
    event.refresh_from_db()
    assert (event.mail, event.mail_attempts) == (AlertEvent.Mail.WAITING, 1)
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert send_waiting(START + timedelta(seconds=30)) == 0
    assert send_waiting(START + timedelta(seconds=90)) == 1


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it gets."""

    got: list[tuple[dict[str, str], bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""


@pytest.mark.usefixtures("queues")
def test_a_webhook_gets_a_signed_event(world: World, deployment: Deployment, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    Receiver.got = []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    with in_thread(server):
        url = f"http://127.0.0.1:{server.server_port}/alerts"
        hook = webhooks.create(project=world.project, user=world.owner, url=url, events=["alert.firing"])
        event = fire(deployment)
        delivery = WebhookDelivery.objects.get()
        assert deliveries.deliver(delivery.pk)
    [(headers, body)] = Receiver.got
    payload = json.loads(body)
    assert (headers["SLM-Event"], payload["event"]) == ("alert.firing", "alert.firing")
    assert payload["data"]["alert"] == "failures"
    assert (payload["data"]["value"], payload["data"]["event"]) == (1.0, event.pk)
    sent_at = int(headers["SLM-Signature"].split(",")[0].removeprefix("t="))
    assert headers["SLM-Signature"] == deliveries.signature(deliveries.secret_of(hook), body, sent_at)
