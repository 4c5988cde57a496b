"""Answer policies: who sets them, what the gateway reads, and what happens with an answer."""

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from evaluation.models import AuditEntry, Endpoint
from serving.confidence import policy as policies
from serving.confidence.policy import Assessment, Policy, Reason, asks_fallback, doubt, doubtful_fields
from serving.confidence.status import status_of
from serving.gateway.routes import _routes
from serving.models import AnswerPolicy, Deployment, DeploymentEvent
from tests.evaluation.factories import World
from tests.labeling.api_client import api_of
from tests.serving.confidence.rows import budget, calibrated, code_of, deployed, larger, request
from tests.shared_rows import shared_fixture

VALUES = {"number": 0.99, "rows[0].total": 0.9}
ANSWER, CALIBRATED = Assessment(VALUES), Assessment(VALUES, is_calibrated=True)
BUDGET = Policy(has_budget=True, min_confidence=0.85)


@pytest.mark.parametrize(("policy", "assessment", "reason", "fields"), [
    (Policy(), ANSWER, "", []),
    (Policy(min_confidence=0.95), ANSWER, "confidence", ["rows[0].total"]),
    (Policy(min_confidence=0.85), Assessment(), "", []),
    (Policy(), Assessment({"number": 0.99}, holds=False), "invariant", []),
    (Policy(on_invariant=False), Assessment({"number": 0.99}, holds=False), "", []),
    (BUDGET, CALIBRATED, "", []),
    (BUDGET, ANSWER, "confidence", []),  # never automatic without a calibration
    (BUDGET, Assessment(is_calibrated=True), "confidence", []),
    (replace(BUDGET, is_broken=True), CALIBRATED, "broken", []),
])  # fmt: skip
def test_why_an_answer_is_not_good_enough(
    policy: Policy, assessment: Assessment, reason: str, fields: list[str]
) -> None:
    assert doubt(policy, assessment) == reason
    assert doubtful_fields(policy, assessment) == fields


@pytest.mark.parametrize(("policy", "reason", "asked"), [
    (Policy(has_fallback=True), Reason.NONE, False),
    (Policy(has_fallback=True), Reason.CONFIDENCE, True),
    (Policy(has_fallback=True, rest_to_fallback=False), Reason.CONFIDENCE, False),
    (Policy(has_fallback=True, rest_to_fallback=False), Reason.INVARIANT, True),
    (Policy(has_fallback=True, on_invalid=False), Reason.INVALID, False),
    (Policy(), Reason.INVALID, False),
])  # fmt: skip
def test_when_the_larger_model_is_asked(policy: Policy, reason: Reason, asked: bool) -> None:
    assert asks_fallback(policy, reason) == asked


@shared_fixture
def deployment(world: World) -> Deployment:
    return deployed(world)


def test_the_gateway_reads_calibration_threshold_and_fallback(world: World, deployment: Deployment) -> None:
    assert _routes()[world.project.slug].policy.has_budget is False
    before = deployment.revision
    endpoint = larger(world, price_in=1.0, price_out=2.0)
    budget(deployment, world.engineer, endpoint=endpoint)
    route = _routes()[world.project.slug]
    assert route.stable is not None
    assert (route.policy.has_budget, route.policy.min_confidence) == (True, 0.9)
    assert route.stable.fallback is not None
    assert (route.stable.fallback.name, route.stable.fallback.price_out) == ("Big", 2.0)
    assert route.stable.fallback.schema == route.stable.schema
    calibration = route.stable.confidence
    assert calibration is not None
    assert calibration.probability("total", 0.99, False) > 0.9 > calibration.probability("total", 0.5, False)
    deployment.refresh_from_db()
    assert deployment.revision > before
    assert DeploymentEvent.objects.latest("pk").kind == "policy"
    assert AuditEntry.objects.filter(action="answer policy changed").exists()
    assert deployment.stable is not None
    assert deployment.stable.package is not None
    calibrated(deployment.stable.package, "b" * 64)  # built again
    assert policies.calibrations([deployment.stable])[deployment.stable.pk] is not calibration


def test_a_removed_larger_model_is_not_asked(world: World, deployment: Deployment) -> None:
    policies.set_policy(deployment=deployment, user=world.engineer, endpoint=larger(world))
    Endpoint.objects.update(retired_at=timezone.now())
    route = _routes()[world.project.slug]
    assert route.policy.has_fallback is False
    assert route.stable is not None
    assert route.stable.fallback is None
    assert code_of(lambda: budget(deployment, world.engineer)) == "endpoint"


def test_what_a_policy_cannot_be(world: World, deployment: Deployment) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"budget_wrong": 50}, "range"), ({"min_confidence": None}, "no_threshold"), ({"min_confidence": 1.5}, "range"),
        ({"rest": "nobody"}, "range"),
    ]  # fmt: skip
    for values, code in wrong:
        assert code_of(lambda: budget(deployment, world.engineer, **values)) == code  # noqa: B023
    assert not AnswerPolicy.objects.exists()


def test_only_another_budget_starts_over(world: World, deployment: Deployment) -> None:
    first = budget(deployment, world.engineer).audit_since
    assert budget(deployment, world.engineer, min_confidence=0.8).audit_since == first
    assert budget(deployment, world.engineer, budget_of=100).audit_since != first


# -- the page and the interface ---------------------------------------------------------------------------------------


def test_the_page_shows_figures_and_stores_the_policy(client: Client, world: World, deployment: Deployment) -> None:
    address, post = (reverse(name, args=[world.project.slug]) for name in ("deploy_settings", "deploy_policy"))
    values = {"budget_wrong": "1", "budget_of": "50", "rest": "people", "min_confidence": "90", "on_invalid": "on"}
    larger(world)
    client.force_login(world.engineer)
    assert client.post(post, values).status_code == 302
    policy = AnswerPolicy.objects.get()
    assert (policy.min_confidence, policy.on_invalid, policy.on_invariant) == (0.9, True, False)
    request(deployment, needs_review=True, automatic=False)
    request(deployment, fallback_reason="confidence", source="fallback", fallback_ms=80.0, cost=0.25)
    status = status_of(world.project)
    assert status is not None
    for row in (status.proven, status.in_effect):
        assert row is not None
        assert (row.automatic, row.wrong) == (400, 0)
    answers = status.answers
    assert [answers[name] for name in ("requests", "to_people", "by_fallback")] == [2, 1, 1]
    assert (answers["reasons"], answers["cost_per_thousand"]) == ({"confidence": 1}, 125.0)
    assert client.get(address).status_code == 200
    answer = client.post(post, {**values, "min_confidence": ""})
    assert (answer.status_code, list(answer.context["policy_form"].errors)) == (422, ["min_confidence"])


def test_the_policy_over_rest(world: World, deployment: Deployment) -> None:
    api = api_of(world.project, world.engineer, "deploy")
    path = "deployment/policy"
    assert api.get(path).json["budget_wrong"] is None
    larger(world)
    values = {"budget_wrong": 1, "budget_of": 50, "min_confidence": 0.9, "larger_model": "Big", "rest": "fallback"}
    answer = api.put(path, values)
    assert answer.status == 200, answer.json
    assert (answer.json["larger_model"], answer.json["rest"]) == ("Big", "fallback")
    [row] = [row for row in answer.json["thresholds"] if row["threshold"] == answer.json["proven_threshold"]]
    assert (row["automatic"], row["wrong"], float(row["accuracy"]), row["cost"]) == (400, 0, 1, None)
    figures = {name: float(value) for name, value in answer.json["budget"].items()}
    assert figures == {"drawn": 0, "judged": 0, "wrong": 0, "low": 0, "high": 1}
    assert api.put(path, {"budget_wrong": None}).json["budget"] is None
    assert AnswerPolicy.objects.get().endpoint is not None
    assert api.put(path, {"larger_model": "Unknown"}).status == 422
    assert api.put(path, {"minimum": 1}).status == 422
    assert api.post(f"{path}/resume", {"reason": "x"}).status == 409
