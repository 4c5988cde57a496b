"""Answer policies: who sets them, what the gateway reads, and how a budget that is exceeded ends."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from evaluation.models import AuditEntry, Endpoint
from serving.confidence.budget import Budget
from serving.confidence.signals import Signals
from serving.gateway.routes import _routes
from serving.models import (
    AnswerPolicy,
    Deployment,
    DeploymentEvent,
    PackageCalibration,
)
from serving.policies import queries, routing, services
from tests.evaluation.factories import World
from tests.labeling.api_client import api_of
from tests.serving.policies.rows import budget, calibrated, code_of, deployed, larger, request
from tests.shared_rows import shared_fixture


@shared_fixture
def deployment(world: World) -> Deployment:
    return deployed(world)


def test_the_gateway_reads_calibration_limit_and_fallback(world: World, deployment: Deployment) -> None:
    assert _routes()[world.project.slug].policy.has_budget is False
    before = deployment.revision
    endpoint = larger(world, price_in=1.0, price_out=2.0)
    budget(deployment, world.engineer, endpoint=endpoint, min_confidence=0.4)
    found = _routes()[world.project.slug]
    assert found.stable is not None
    assert found.stable.confidence is not None
    assert found.policy.has_budget
    assert found.policy.min_confidence == 0.4
    assert found.stable.fallback is not None
    assert (found.stable.fallback.external.name, found.stable.fallback.price_out) == ("Big", 2.0)
    assert found.stable.fallback.external.schema == found.stable.schema
    limit = found.stable.confidence.limit
    assert limit is not None
    calibration = found.stable.confidence.calibration
    assert calibration.probability("total", Signals(0.99, mean=0.99)) >= limit
    assert calibration.probability("total", Signals(0.5, mean=0.99)) < limit
    deployment.refresh_from_db()
    assert deployment.revision > before
    assert DeploymentEvent.objects.latest("pk").kind == "policy"
    assert AuditEntry.objects.filter(action="answer policy changed").exists()


def test_a_package_that_is_built_again_has_its_own_limit(world: World, deployment: Deployment) -> None:
    budget(deployment, world.engineer)
    assert deployment.stable is not None
    assert deployment.stable.package is not None
    proven = Budget(1, 50, "document")
    assert routing.release_confidences([deployment.stable], proven)[deployment.stable.pk].limit is not None
    row = calibrated(deployment.stable.package, "b" * 64)
    PackageCalibration.objects.filter(pk=row.pk).update(
        summary={**row.summary, "limits": {"field": [], "document": []}}
    )
    assert routing.release_confidences([deployment.stable], proven)[deployment.stable.pk].limit is None


def test_a_removed_larger_model_is_not_asked(world: World, deployment: Deployment) -> None:
    endpoint = larger(world)
    services.set_policy(deployment=deployment, user=world.engineer, endpoint=endpoint)
    Endpoint.objects.update(retired_at=timezone.now())
    found = _routes()[world.project.slug]
    assert found.policy.has_fallback is False
    assert found.stable is not None
    assert found.stable.fallback is None
    assert code_of(lambda: budget(deployment, world.engineer)) == "endpoint"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"budget_wrong": 50}, "range"),
        ({"rest": "fallback"}, "no_endpoint"),
        ({"field_confidence": {"nonsense": 0.5}}, "unknown_field"),
        ({"min_confidence": 1.5}, "range"),
        ({"audit_share": 0.0}, "range"),
        ({"basis": "hope"}, "range"),
    ],
)
def test_what_a_policy_cannot_be(world: World, deployment: Deployment, values: dict[str, Any], code: str) -> None:
    assert code_of(lambda: budget(deployment, world.engineer, **values)) == code
    assert not AnswerPolicy.objects.exists()


def test_only_another_budget_begins_another_audit(world: World, deployment: Deployment) -> None:
    first = budget(deployment, world.engineer).audit_since
    assert budget(deployment, world.engineer, basis="expected").audit_since == first
    assert budget(deployment, world.engineer, budget_of=100).audit_since != first


# -- the page and the interface ---------------------------------------------------------------------------------------


def form(**changes: str) -> dict[str, str]:
    return {
        "budget_wrong": "1", "budget_of": "50", "budget_unit": "document", "basis": "proven", "rest": "people",
        "audit_share": "10", "min_confidence": "", "field_confidence": "", "on_invalid": "on", **changes,
    }  # fmt: skip


def test_the_page_shows_the_limit_and_stores_the_policy(client: Client, world: World, deployment: Deployment) -> None:
    address = reverse("deploy_confidence", args=[world.project.slug])
    client.force_login(world.annotator)
    assert b"Answer policy" not in client.get(address).content
    assert client.post(reverse("deploy_policy", args=[world.project.slug]), form()).status_code in (403, 404)
    client.force_login(world.engineer)
    assert client.get(address).status_code == 200
    pattern = world.project.schema_version.compiled.fields[0].pattern
    data = form(field_confidence=f"{pattern} 97,5", min_confidence="80")
    response = client.post(reverse("deploy_policy", args=[world.project.slug]), data)
    assert response.status_code == 302
    policy = AnswerPolicy.objects.get()
    assert (policy.min_confidence, policy.audit_share, policy.on_invalid, policy.on_invariant) == (
        0.8,
        0.1,
        True,
        False,
    )
    assert policy.field_confidence == {pattern: 0.975}
    request(deployment, needs_review=True, automatic=False, audited=False)
    request(deployment, fallback_reason="confidence", source="fallback", fallback_ms=80.0, cost=0.25, audited=False)
    status = queries.status_of(world.project)
    assert status is not None
    assert status.chosen is not None
    assert (status.chosen.accepted, status.chosen.wrong) == (400, 0)
    assert (status.traffic.requests, status.traffic.to_people, status.traffic.by_fallback) == (2, 1, 1)
    assert (status.traffic.reasons, status.traffic.cost_per_thousand) == ({"confidence": 1}, 125.0)
    page = client.get(address)
    assert page.status_code == 200
    assert page.content.count(b'<svg class="chart"') == 3
    bad = client.post(reverse("deploy_policy", args=[world.project.slug]), form(field_confidence="total"))
    assert bad.status_code == 422
    assert client.post(
        reverse("deploy_policy", args=[world.project.slug]), form(rest="fallback")
    ).status_code == 422  # fmt: skip


def test_the_page_of_a_broken_budget_offers_to_resume(client: Client, world: World, deployment: Deployment) -> None:
    budget(deployment, world.engineer)
    services.break_budget(deployment=deployment, reason="Too many errors.")
    client.force_login(world.manager)
    assert b"Too many errors." in client.get(reverse("deploy_confidence", args=[world.project.slug])).content
    address = reverse("deploy_resume", args=[world.project.slug])
    assert client.post(address, {"reason": ""}).status_code == 422
    assert AnswerPolicy.objects.get().broken_at is not None
    assert client.post(address, {"reason": "Checked."}).status_code == 302
    assert AnswerPolicy.objects.get().broken_at is None


def test_the_policy_over_rest(world: World, deployment: Deployment) -> None:
    api = api_of(world.project, world.engineer, "deploy")
    path = "deployment/policy"
    assert api.get(path).json["budget_wrong"] is None
    larger(world)
    values = {"budget_wrong": 1, "budget_of": 50, "budget_unit": "document", "larger_model": "Big", "rest": "fallback"}
    found = api.put(path, values)
    assert found.status == 200, found.json
    assert (found.json["larger_model"], found.json["rest"]) == ("Big", "fallback")
    assert float(found.json["automatic_share"]) == 0.8
    [at] = [one for one in found.json["what_if"] if float(one["limit"]) == float(found.json["limit"])]
    assert float(at["rest"]) == pytest.approx(0.2)
    assert (float(at["accuracy"]), at["cost"]) == (1, None)
    audited = {name: float(value) for name, value in found.json["audit"].items()}
    assert audited == {"drawn": 0, "judged": 0, "wrong": 0, "counted": 0, "low": 0, "high": 1}
    assert api.put(path, {"budget_wrong": None}).json["audit"] is None
    assert AnswerPolicy.objects.get().endpoint is not None
    assert api.put(path, {"larger_model": "Unknown"}).status == 422
    assert api.put(path, {"minimum": 1}).status == 422
    assert api.post(f"{path}/resume", {"reason": "x"}).status == 409
    assert api_of(world.project, world.engineer, "read").get(path).status == 403
