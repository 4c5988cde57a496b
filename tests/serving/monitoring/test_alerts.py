"""Alerts fire and resolve on figures of the log, with a clock that the tests hand in; their forms."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from evaluation.models import AuditEntry
from labeling.integrations import webhooks
from labeling.models import WebhookDelivery
from serving.deployments import services
from serving.models import AlertEvent, AlertRule, Deployment, DriftCheck, Package, Replica
from serving.monitoring import alerts
from serving.monitoring.alerts import METRICS, Measured, check_all, send_waiting
from serving.monitoring.figures import count_marked
from slmstudio.runs.models import Status
from tests.evaluation.factories import World
from tests.serving.monitoring.rows import logged
from tests.serving.rollouts.rows import deployed
from tests.shared_rows import shared_fixture

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
Kind = AlertEvent.Kind


@shared_fixture
def deployment(world: World) -> Deployment:
    """A stable version; only the alert on failures is on."""
    row = deployed(world)
    alerts.rules_of(row.project)
    AlertRule.objects.exclude(metric="failures").update(enabled=False)
    return row


def rule_of(metric: str = "failures", **changes: Any) -> AlertRule:
    AlertRule.objects.filter(metric=metric).update(enabled=True, **changes)
    return AlertRule.objects.get(metric=metric)


def pass_minutes(deployment: Deployment, first: int, last: int, *, failed: int, good: int) -> None:
    """Requests in each minute, and a check at its beginning."""
    for minute in range(first, last):
        at = START + timedelta(minutes=minute)
        logged(deployment.project_id, at, good, release=deployment.stable)
        logged(deployment.project_id, at, failed, release=deployment.stable, status=503, code="no_replica", valid=None)
        count_marked(at)
        check_all(at)


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
    # A second host sends no second notification.
    assert check_all(fired_at + timedelta(seconds=2)) == 0
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


def test_few_requests_and_those_in_shadow_conclude_nothing(deployment: Deployment) -> None:
    shadow = {"shadow_of": "0" * 32, "release": deployment.stable}
    logged(deployment.project_id, START + timedelta(minutes=6), 240, status=502, **shadow)
    pass_minutes(deployment, 0, 9, failed=1, good=0)
    rule = rule_of()
    assert (rule.state, rule.value) == ("ok", None)


def test_no_traffic_fires_where_the_rule_says_so_until_serving_stops(world: World, deployment: Deployment) -> None:
    rule_of(missing_fires=True)
    pass_minutes(deployment, 0, 8, failed=0, good=0)
    assert [kind for kind, _ in kinds()] == [Kind.FIRING]
    services.stop(deployment=deployment, user=world.engineer, reason="Done.")
    check_all(START + timedelta(minutes=8))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING, Kind.RESOLVED]


def test_each_metric_fires(deployment: Deployment) -> None:
    cases: list[tuple[str, dict[str, Any], float]] = [
        ("invalid", {"status": 502, "valid": False}, 0.5), ("p95", {"total_ms": 20_000.0}, 10_000),
        ("queue", {"queue_ms": 9_000.0}, 5_000), ("rejected", {"status": 429, "valid": None}, 0.01),
        ("fallback", {"source": "fallback"}, 0.3),
    ]  # fmt: skip
    for number, (metric, changes, limit) in enumerate(cases):
        at = START + timedelta(hours=number)
        AlertRule.objects.update(enabled=False)
        rule_of(metric, limit=limit, for_seconds=0, min_requests=20)
        logged(deployment.project_id, at, 40, release=deployment.stable, **changes)
        count_marked(at)
        check_all(at)
        event = AlertEvent.objects.latest("pk")
        assert (event.metric, event.kind, event.created_at) == (metric, Kind.FIRING, at)
    # Few requests are none of these alerts, and fire below a limit of their own.
    at += timedelta(minutes=30)
    AlertRule.objects.update(enabled=False)
    rule_of("traffic", limit=1.0, for_seconds=0, window_seconds=600)
    check_all(at)
    event = AlertEvent.objects.latest("pk")
    assert (event.metric, event.kind) == ("traffic", Kind.FIRING)


def test_a_version_without_replicas_fires_once_its_package_is_built(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("replicas")
    check_all(START)
    Replica.objects.all().delete()
    Package.objects.update(status=Status.RUNNING)
    check_all(START + timedelta(seconds=15))
    assert (rule_of("replicas").state, kinds()) == ("ok", [])
    Package.objects.update(status=Status.DONE)
    for seconds in range(30, 165, 15):
        check_all(START + timedelta(seconds=seconds))
    assert kinds() == [(Kind.FIRING, START + timedelta(seconds=150))]
    assert AlertEvent.objects.get().sentence.endswith(f"{deployment.stable}.")


def test_drift_fires_and_resolves_with_the_daily_check(deployment: Deployment) -> None:
    AlertRule.objects.update(enabled=False)
    rule_of("drift")
    finding = {
        "metric": "length", "kind": "number", "p": 1e-9, "adjusted": 1e-8, "effect": 0.4, "reference": 200.0,
        "live": 900.0, "reference_count": 100, "live_count": 500, "category": "", "changed": True,
    }  # fmt: skip
    values: dict[str, Any] = {"project": deployment.project, "release": deployment.stable}
    DriftCheck.objects.create(day=START.date() - timedelta(days=1), findings=[finding], changed=1, **values)
    check_all(START)
    assert [kind for kind, _ in kinds()] == [Kind.FIRING]
    assert "900" in AlertEvent.objects.get().sentence
    DriftCheck.objects.create(day=START.date(), findings=[{**finding, "changed": False}], changed=0, **values)
    for minute in range(7):
        check_all(START + timedelta(hours=13, minutes=minute))
    assert [kind for kind, _ in kinds()] == [Kind.FIRING, Kind.RESOLVED]


def fire(deployment: Deployment) -> AlertEvent:
    rule_of(for_seconds=0)
    logged(deployment.project_id, START, 40, status=503, release=deployment.stable)
    count_marked(START)
    check_all(START)
    return AlertEvent.objects.get()


def test_mail_goes_to_the_recipients_once(world: World, deployment: Deployment, settings: Any) -> None:
    alerts.set_recipients(project=world.project, user=world.engineer, addresses=["a@example.com", "b@example.com"])
    event = fire(deployment)
    assert event.mail == AlertEvent.Mail.WAITING
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", 1, False
    assert send_waiting(START) == 0
    event.refresh_from_db()
    assert (event.mail, event.mail_attempts) == (AlertEvent.Mail.WAITING, 1)
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert [send_waiting(START + timedelta(seconds=seconds)) for seconds in (30, 90, 90)] == [0, 1, 0]
    [message] = mail.outbox
    assert (message.bcc, message.to) == (["a@example.com", "b@example.com"], [])
    assert event.sentence in message.body
    event.refresh_from_db()
    assert event.mail == AlertEvent.Mail.SENT


def test_a_webhook_gets_the_event(world: World, deployment: Deployment) -> None:
    webhooks.create(
        project=world.project, user=world.owner, url="https://93.184.216.34/alerts", events=["alert.firing"]
    )
    event = fire(deployment)
    delivery = WebhookDelivery.objects.get()
    assert delivery.event == "alert.firing"
    assert delivery.payload["alert"] == "failures"
    assert (delivery.payload["value"], delivery.payload["event"]) == (1.0, event.pk)


# -- states -----------------------------------------------------------------------------------------------------------

OVER, NEAR, CLEAR, UNKNOWN = 0.06, 0.048, 0.01, None


def history(values: list[float | None], *, every: int = 60, **changes: Any) -> list[str]:
    """The state of the rule on failures, with a limit of 5%, after each check."""
    rule = AlertRule(**{"metric": "failures", "limit": 0.05, "since": START, **changes})
    states = []
    for index, value in enumerate(values):
        measured = Measured(value, requests=0 if value is None else 50)
        metric = METRICS["failures"]
        is_over, clear = alerts.exceeds(rule, metric, measured), alerts.is_clear(rule, metric, measured)
        alerts.step(rule, is_over, clear, START + timedelta(seconds=every * index))
        states.append(rule.state)
    return states


FIRED = [OVER] * 6
_HOURS = int(alerts.FORGET.total_seconds() // 60)


@pytest.mark.parametrize(("values", "states"), [
    (FIRED, ["pending"] * 5 + ["firing"]),
    ([OVER] * 4 + [NEAR] + [OVER] * 5, ["pending"] * 4 + ["ok"] + ["pending"] * 5),
    (FIRED + [CLEAR] * 6, ["pending"] * 5 + ["firing"] * 6 + ["ok"]),
    ([NEAR] * 20, ["ok"] * 20),
    (FIRED + [NEAR, CLEAR, CLEAR] * 10, ["pending"] * 5 + ["firing"] * 31),
    (FIRED + [CLEAR, OVER] * 30, ["pending"] * 5 + ["firing"] * 61),
    ([UNKNOWN] * 50, ["ok"] * 50),
    ([OVER] * 3 + [UNKNOWN] + [OVER] * 3, ["pending"] * 3 + ["ok"] + ["pending"] * 3),
    (FIRED + [UNKNOWN] * (_HOURS + 1), ["pending"] * 5 + ["firing"] * _HOURS + ["ok"] * 2),
])  # fmt: skip
def test_states(values: list[float | None], states: list[str]) -> None:
    assert history(values) == states


def test_checks_that_were_missed_prove_nothing() -> None:
    assert history([OVER, OVER], every=7_200) == ["pending", "pending"]
    firing: dict[str, Any] = {
        "state": "firing",
        "clear_since": START,
        "checked_at": START - timedelta(hours=2),
        "measured_at": START,
    }
    assert history([CLEAR], **firing) == ["firing"]
    assert history([OVER], for_seconds=0) == ["firing"]


# -- forms ------------------------------------------------------------------------------------------------------------

ADDRESS = "/p/invoices/deploy/monitoring/"
RULE = {
    "limit": "2.5", "window_seconds": "30", "for_seconds": "10", "min_requests": "100", "missing_fires": "on",
    "enabled": "on",
}  # fmt: skip


def client(user: Any) -> Client:
    signed_in = Client()
    signed_in.force_login(user)
    return signed_in


def test_a_rule_is_changed_in_percent_and_minutes(world: World, deployment: Deployment) -> None:
    engineer = client(world.engineer)
    form = engineer.get(f"{ADDRESS}?edit=failures").context["form"]
    assert (form.initial["limit"], form.initial["for_seconds"]) == (5, 5)
    AlertRule.objects.filter(metric="failures").update(state="firing")
    saved = engineer.post(f"{ADDRESS}rules/failures/", RULE, follow=True)
    assert [str(message) for message in saved.context["messages"]] == ["The alert Failed requests was saved."]
    rule = AlertRule.objects.get(metric="failures")
    assert (rule.limit, rule.window_seconds, rule.for_seconds) == (0.025, 1_800, 600)
    assert (rule.min_requests, rule.missing_fires, rule.enabled, rule.state) == (100, True, True, "ok")
    assert AuditEntry.objects.filter(about="alerts").count() == 1
    assert list(engineer.get(f"{ADDRESS}?edit=drift").context["form"].fields) == ["enabled"]
    assert engineer.post(f"{ADDRESS}rules/drift/", {}).status_code == 302
    assert not AlertRule.objects.get(metric="drift").enabled


def test_errors_name_their_field(world: World) -> None:
    engineer = client(world.engineer)
    for field, value in (
        ("limit", "-1"), ("limit", ""), ("limit", "500"), ("window_seconds", "0"), ("for_seconds", "2000"),
        ("min_requests", "x"),
    ):  # fmt: skip
        answer = engineer.post(f"{ADDRESS}rules/failures/", {**RULE, field: value})
        assert (answer.status_code, list(answer.context["form"].errors)) == (422, [field])
    assert AlertRule.objects.get(metric="failures").limit == 0.05
    assert engineer.post(f"{ADDRESS}rules/none/", RULE).status_code == 404
    # A figure that is no share can be above 100.
    assert engineer.post(f"{ADDRESS}rules/p95/", {**RULE, "limit": "500"}).status_code == 302


def test_firing_alerts_lead_to_what_they_are_about(world: World, deployment: Deployment) -> None:
    assert b"firing-alerts" not in client(world.annotator).get("/p/invoices/").content
    AlertRule.objects.filter(metric__in=["invalid", "p95", "replicas"]).update(enabled=True, state="firing", value=0.2)
    assert b"firing-alerts" in client(world.annotator).get("/p/invoices/").content

    def urls(user: Any) -> dict[str, str]:
        return {line.rule.metric: line.url for line in client(user).get(ADDRESS).context["firing"]}

    assert urls(world.engineer) == {
        "invalid": "/p/invoices/deploy/review/?reason=failure", "p95": f"{ADDRESS}#figures",
        "replicas": "/p/invoices/deploy/",
    }  # fmt: skip
    assert urls(world.manager)["invalid"] == f"{ADDRESS}#figures"  # who may not review
