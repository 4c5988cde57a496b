"""The page of alerts: states, a rule's form, recipients."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from evaluation.models import AuditEntry
from labeling.models import Contract
from serving.alerts import rules
from serving.alerts.checks import check_all
from serving.models import AlertRecipients, AlertRule, Deployment
from tests.evaluation.factories import World

ADDRESS = "/p/invoices/deploy/alerts/"
RULE = {
    "limit": "2.5", "window": "30", "duration": "10", "min_requests": "100", "missing_fires": "on", "enabled": "on",
}  # fmt: skip


def client(user: Any) -> Client:
    found = Client()
    found.force_login(user)
    return found


def test_defaults_are_shown_to_everyone(world: World, deployment: Deployment) -> None:
    Contract.objects.filter(project=world.project).update(constraints={"latency_p95_ms": 800})
    page = client(world.annotator).get(ADDRESS)
    assert page.status_code == 200
    found = {line.rule.metric: line for line in page.context["lines"]}
    assert found["failures"].badge[0] == "new"
    check_all(timezone.now())
    page = client(world.annotator).get(ADDRESS)
    assert {line.badge[0] for line in page.context["lines"]} == {"done", "cancelled"}
    assert found["traffic"].badge[0] == "cancelled"
    assert found["p95"].rule.limit == 800
    assert b"deploy/alerts/rules/" not in page.content
    assert client(world.stranger).get(ADDRESS).status_code == 404


def test_a_rule_is_changed_in_percent_and_minutes(world: World, deployment: Deployment) -> None:
    engineer = client(world.engineer)
    form = engineer.get(f"{ADDRESS}?edit=failures").context["form"]
    assert (form.initial["limit"], form.initial["duration"]) == (5, 5)
    rules.ensure_rules(world.project)
    AlertRule.objects.filter(metric="failures").update(state="firing")
    assert engineer.post(f"{ADDRESS}rules/failures/", RULE).status_code == 302
    rule = AlertRule.objects.get(metric="failures")
    assert (rule.limit, rule.window_seconds, rule.for_seconds) == (0.025, 1_800, 600)
    assert (rule.min_requests, rule.missing_fires, rule.enabled, rule.state) == (100, True, True, "ok")
    assert AuditEntry.objects.filter(about="alerts").count() == 1


def test_a_rule_without_a_limit_is_only_switched(world: World, deployment: Deployment) -> None:
    engineer = client(world.engineer)
    form = engineer.get(f"{ADDRESS}?edit=drift").context["form"]
    assert list(form.fields) == ["enabled"]
    assert engineer.post(f"{ADDRESS}rules/drift/", {}).status_code == 302
    assert not AlertRule.objects.get(metric="drift").enabled


@pytest.mark.parametrize(("field", "value"), [
    ("limit", "-1"), ("limit", ""), ("window", "0"), ("duration", "2000"), ("min_requests", "x"),
])  # fmt: skip
def test_errors_name_their_field(world: World, field: str, value: str) -> None:
    answer = client(world.engineer).post(f"{ADDRESS}rules/failures/", {**RULE, field: value})
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, [field])
    assert AlertRule.objects.get(metric="failures").limit == 0.05


def test_recipients_are_stored(world: World) -> None:
    engineer = client(world.engineer)
    answer = engineer.post(f"{ADDRESS}recipients/", {"addresses": "a@example.com\nb@example.com, a@example.com"})
    assert answer.status_code == 302
    assert AlertRecipients.objects.get().addresses == ["a@example.com", "b@example.com"]
    answer = engineer.post(f"{ADDRESS}recipients/", {"addresses": "no address"})
    assert (answer.status_code, list(answer.context["recipients_form"].errors)) == (422, ["addresses"])


def test_annotators_change_nothing(world: World) -> None:
    annotator = client(world.annotator)
    assert annotator.post(f"{ADDRESS}rules/failures/", RULE).status_code == 403
    assert annotator.post(f"{ADDRESS}recipients/", {"addresses": ""}).status_code == 403
    assert client(world.engineer).post(f"{ADDRESS}rules/none/", RULE).status_code == 404


def test_firing_alerts_are_on_the_home_and_the_monitoring_page(world: World, deployment: Deployment) -> None:
    rules.ensure_rules(world.project)
    home = client(world.annotator).get("/p/invoices/")
    assert b"firing-alerts" not in home.content
    AlertRule.objects.filter(metric="failures").update(state="firing", value=0.2)
    assert b"firing-alerts" in client(world.annotator).get("/p/invoices/").content
    page = client(world.annotator).get("/p/invoices/deploy/monitoring/")
    assert [line.rule.metric for line in page.context["firing"]] == ["failures"]


def test_an_alert_leads_to_what_it_is_about(world: World, deployment: Deployment) -> None:
    rules.ensure_rules(world.project)
    AlertRule.objects.filter(metric__in=["invalid", "p95", "replicas"]).update(state="firing", value=0.2)
    address = "/p/invoices/deploy/monitoring/"

    def urls(user: Any) -> dict[str, str]:
        return {line.rule.metric: line.url for line in client(user).get(address).context["firing"]}

    assert urls(world.engineer) == {
        "invalid": "/p/invoices/deploy/review/?reason=failure", "p95": address, "replicas": "/p/invoices/deploy/",
    }  # fmt: skip
    assert urls(world.manager)["invalid"] == address  # who may not review
