"""The rollout on the page of a deployment."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from serving.deployments import services
from serving.models import Deployment, Rollout, RolloutPlan
from serving.rollouts import queries
from serving.rollouts.counts import Step
from serving.rollouts.watch import check_all
from tests.evaluation.factories import World
from tests.serving.rollouts.rows import current, requests

PLAN = {"max_failure_rate": "1.5", "p95_ms": "800", "min_requests": "100", "margin": "1.5", "auto_promote": "on"}


def client(user: Any) -> Client:
    signed_in = Client(headers={"HX-Request": "true"})
    signed_in.force_login(user)
    return signed_in


def shown(world: World, at: datetime) -> queries.RolloutStatus:
    """What the section shows."""
    status = queries.status_of(world.project, at)
    assert status is not None
    return status


def test_evidence_requests_and_forecasts_are_shown(world: World, canary: Deployment) -> None:
    assert b"deploy/rollout/" in client(world.annotator).get("/p/invoices/deploy/").content
    status = client(world.annotator).get("/p/invoices/deploy/rollout/").context["status"]
    assert (status.badge[0], status.evidence, len(status.forecasts)) == ("queued", [], 2)
    at = timezone.now() + timedelta(seconds=1)
    requests(canary, 60, candidate=True, at=at)
    requests(canary, 200, candidate=False, failed=2, at=at)
    check_all(at + timedelta(seconds=5))
    page = client(world.annotator).get("/p/invoices/deploy/rollout/?part=evidence")
    assert page.status_code == 200
    status = shown(world, at)
    assert status.badge[0] == "running"
    assert [is_decided for *_, is_decided in status.evidence] == [False, False, False]
    assert status.steps[0].counts.candidate_requests == 60
    assert page["HX-Trigger"]
    seen = client(world.annotator).get(f"/p/invoices/deploy/rollout/?part=evidence&seen={canary.revision}")
    assert "HX-Trigger" not in seen
    services.abort(deployment=canary, user=world.engineer, reason="Slow.")
    check_all(at + timedelta(seconds=9))
    status = shown(world, at)
    assert (status.badge, status.forecasts) == (("failed", "aborted"), [])
    assert status.rollout is not None
    assert status.rollout.reason == "Aborted by erik. Slow."


def test_a_rollout_that_a_person_promotes_names_the_person(world: World, canary: Deployment) -> None:
    at = timezone.now() + timedelta(seconds=1)
    check_all(at)
    assert Rollout.objects.get().code == "few_requests"
    services.finish_promotion(services.promote(deployment=canary, user=world.manager))
    check_all(at + timedelta(seconds=5))
    rollout = Rollout.objects.get()
    assert (rollout.outcome, rollout.reason) == ("promoted", "Promoted to all requests by mona.")


def test_a_plan_is_saved(world: World, canary: Deployment) -> None:
    assert client(world.engineer).post("/p/invoices/deploy/plan/", PLAN).status_code == 200
    plan = RolloutPlan.objects.get()
    assert (plan.deployment, plan.auto_promote, plan.p95_ms, plan.min_requests) == (canary, True, 800, 100)
    assert plan.max_failure_rate == pytest.approx(0.015)
    assert plan.margin == 1.5
    without = {**PLAN, "max_failure_rate": "", "p95_ms": "", "auto_promote": ""}
    assert client(world.engineer).post("/p/invoices/deploy/plan/", without).status_code == 200
    plan.refresh_from_db()
    assert (plan.auto_promote, plan.max_failure_rate, plan.p95_ms) == (False, None, None)


def test_errors_of_a_plan_name_their_field(world: World, canary: Deployment) -> None:
    engineer = client(world.engineer)
    for field, value in (("max_failure_rate", "0"), ("p95_ms", "-1"), ("min_requests", ""), ("margin", "1")):
        answer = engineer.post("/p/invoices/deploy/plan/", {**PLAN, field: value})
        assert (answer.status_code, list(answer.context["form"].errors)) == (422, [field])
    assert not RolloutPlan.objects.exists()


def test_a_new_latency_limit_counts_from_now_on(world: World, canary: Deployment) -> None:
    client(world.engineer).post("/p/invoices/deploy/plan/", {**PLAN, "auto_promote": ""})
    at = timezone.now() + timedelta(seconds=1)
    requests(canary, 2, candidate=True, at=at, total_ms=900.0)
    requests(canary, 18, candidate=True, at=at)
    check_all(at + timedelta(seconds=300))
    assert Step.from_json(Rollout.objects.get().steps[0]).settled.candidate_slow == 2
    client(world.engineer).post("/p/invoices/deploy/plan/", {**PLAN, "auto_promote": "", "p95_ms": "850"})
    check_all(at + timedelta(seconds=310))
    counts = Step.from_json(Rollout.objects.get().steps[0]).counts
    assert (counts.candidate_requests, counts.candidate_timed, counts.candidate_slow) == (20, 0, 0)
    assert current(world).candidate == canary.candidate
