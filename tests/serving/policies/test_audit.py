"""The audit of an error budget: what counts, and how a budget that is exceeded ends automatic answers."""

from datetime import timedelta

from serving.gateway.routes import _routes
from serving.models import Deployment, DeploymentEvent, Judgment, RequestLog
from serving.policies import audit, services, watch
from tests.evaluation.factories import World
from tests.serving.policies.rows import budget, code_of, deployed, request
from tests.shared_rows import shared_fixture


@shared_fixture
def deployment(world: World) -> Deployment:
    return deployed(world)


def judge(row: RequestLog, *, wrong: int, counted: int = 2, source: str = "reviewer") -> None:
    """A judgment, as the review queue stores it."""
    Judgment.objects.create(
        project_id=row.project_id, request_id=row.id, day=row.day, requested_at=row.created_at, release=row.release,
        source=source, right=wrong == 0, correct_fields=counted - wrong, counted_fields=counted,
    )  # fmt: skip


def test_the_audit_counts_what_people_judged_of_the_drawn_answers(world: World, deployment: Deployment) -> None:
    policy = budget(deployment, world.engineer, budget_unit="field")
    assert policy.audit_since is not None
    early = policy.audit_since - timedelta(minutes=1)
    judge(request(deployment), wrong=1)
    judge(request(deployment), wrong=0)
    judge(request(deployment), wrong=1, source="caller")
    by_both = request(deployment)
    judge(by_both, wrong=0, source="gold")
    judge(by_both, wrong=2)
    for other in (
        {"audited": False}, {"automatic": False}, {"source": "fallback"}, {"created_at": early}, {"status": 502},
    ):  # fmt: skip
        judge(request(deployment, **other), wrong=2)
    found = audit.audit_of(deployment, policy)
    assert found is not None
    assert (found.drawn, found.judged, found.pending, found.wrong, found.counted) == (4, 3, 1, 1, 6)
    low, high = found.interval
    assert low < 1 / 6 < high


def test_an_answer_that_was_not_compared_counts_one_wrong_field(world: World, deployment: Deployment) -> None:
    policy = budget(deployment, world.engineer, budget_unit="field")
    judge(request(deployment), wrong=0, counted=0)
    row = request(deployment)
    Judgment.objects.create(
        project_id=row.project_id,
        request_id=row.id,
        day=row.day,
        requested_at=row.created_at,
        release=row.release,
        source="gold",
        right=False,
    )
    found = audit.audit_of(deployment, policy)
    assert found is not None
    assert (found.wrong, found.counted) == (1, 4)


def test_an_exceeded_budget_ends_automatic_answers_until_a_person_resumes(world: World, deployment: Deployment) -> None:
    policy = budget(deployment, world.engineer)
    for _ in range(20):
        judge(request(deployment), wrong=0)
    assert watch.check_all() == 0
    for _ in range(12):
        judge(request(deployment), wrong=1)
    assert watch.check_all() == 1
    policy.refresh_from_db()
    assert policy.broken_at is not None
    assert "12 of 32 documents" in policy.broken_reason
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.stable) == ("broken", None, deployment.stable)
    assert _routes()[world.project.slug].policy.is_broken
    assert watch.check_all() == 0
    assert code_of(lambda: services.resume(deployment=deployment, user=world.manager, reason=" ")) == "reason"
    services.resume(deployment=deployment, user=world.manager, reason="Retrained.")
    assert _routes()[world.project.slug].policy.is_broken is False
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.reason) == ("resumed", world.manager, "Retrained.")
    policy.refresh_from_db()
    begun = audit.audit_of(deployment, policy)
    assert begun is not None
    assert begun.drawn == 0
    assert code_of(lambda: services.resume(deployment=deployment, user=world.manager, reason="x")) == "not_broken"
