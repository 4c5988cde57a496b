"""The error budget: what counts, and how a budget that is exceeded ends automatic answers."""

from datetime import timedelta

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from serving.confidence import policy as policies
from serving.confidence.policy import budget_status, check_budgets
from serving.gateway.routes import _routes
from serving.models import AnswerPolicy, Deployment, DeploymentEvent
from tests.evaluation.factories import World
from tests.serving.confidence.rows import audited, budget, code_of, deployed, judge
from tests.shared_rows import shared_fixture


@shared_fixture
def deployment(world: World) -> Deployment:
    return deployed(world)


def test_it_counts_what_people_judged_of_the_sample(world: World, deployment: Deployment) -> None:
    policy = budget(deployment, world.engineer)
    assert policy.audit_since is not None
    judge(audited(deployment), right=False)
    judge(audited(deployment), right=True)
    judge(audited(deployment), right=False, source="caller")
    by_both = audited(deployment)
    judge(by_both, right=True, source="gold")
    judge(by_both, right=False)
    judge(audited(deployment, is_audited=False), right=False)
    judge(audited(deployment, created_at=policy.audit_since - timedelta(minutes=1)), right=False)
    status = budget_status(deployment, policy)
    assert status is not None
    assert (status.limit, status.drawn, status.judged, status.pending, status.wrong) == (0.02, 4, 3, 1, 1)
    low, high = status.interval
    assert low < 1 / 3 < high


def test_an_exceeded_budget_ends_automatic_answers_until_a_person_resumes(world: World, deployment: Deployment) -> None:
    policy = budget(deployment, world.engineer)
    for _ in range(20):
        judge(audited(deployment), right=True)
    assert check_budgets(timezone.now()) == 0
    for _ in range(12):
        judge(audited(deployment), right=False)
    assert check_budgets(timezone.now()) == 1
    policy.refresh_from_db()
    assert policy.broken_at is not None
    assert "12 of 32" in policy.broken_reason
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.stable) == ("broken", None, deployment.stable)
    assert _routes()[world.project.slug].policy.is_broken
    assert check_budgets(timezone.now()) == 0
    assert code_of(lambda: policies.resume(deployment=deployment, user=world.manager, reason=" ")) == "reason"

    manager, address = Client(), reverse("deploy_resume", args=[world.project.slug])
    manager.force_login(world.manager)
    assert manager.post(address, {"reason": ""}).status_code == 422
    assert AnswerPolicy.objects.get().broken_at is not None
    assert manager.post(address, {"reason": "Retrained."}).status_code == 302
    assert _routes()[world.project.slug].policy.is_broken is False
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.reason) == ("resumed", world.manager, "Retrained.")
    policy.refresh_from_db()
    status = budget_status(deployment, policy)
    assert status is not None
    assert status.drawn == 0
    assert code_of(lambda: policies.resume(deployment=deployment, user=world.manager, reason="x")) == "not_broken"
