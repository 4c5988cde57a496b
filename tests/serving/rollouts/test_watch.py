"""The watch of rollouts: what it counts, and what it does without a person."""

from datetime import datetime, timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from serving.deployments import services
from serving.models import (
    Deployment,
    DeploymentEvent,
    Release,
    Replica,
    ReplicaCrash,
    RequestLog,
    Rollout,
    RolloutPlan,
)
from serving.rollouts import queries
from serving.rollouts.counts import Step
from serving.rollouts.watch import check, check_all
from tests.evaluation.factories import World, evaluated, right
from tests.serving.factories import answering
from tests.serving.rollouts.rows import current, pairs, requests


def steps(rollout: Rollout | None = None) -> list[Step]:
    rollout = rollout or Rollout.objects.latest("pk")
    return [Step.from_json(step) for step in rollout.steps]


def soon(seconds: float = 1.0) -> datetime:
    """A moment after the deployment."""
    return timezone.now() + timedelta(seconds=seconds)


def test_a_bad_canary_is_aborted_without_a_person(world: World, canary: Deployment) -> None:
    requests(canary, 300, candidate=False, failed=3, at=soon())
    requests(canary, 100, candidate=True, failed=20, at=soon())
    check_all(soon(5))
    ended = current(world)
    assert (ended.candidate, ended.stage, ended.share, ended.stable) == (None, "", 0.0, canary.stable)
    rollout = Rollout.objects.get()
    assert (rollout.outcome, rollout.verdict, rollout.code) == ("aborted", "abort", "fails_more")
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.reason) == ("aborted", None, rollout.reason)
    check_all(soon(9))
    assert DeploymentEvent.objects.count() == event.pk - DeploymentEvent.objects.earliest("pk").pk + 1


def test_counts_of_a_canary(canary: Deployment) -> None:
    at = soon()
    requests(canary, 30, candidate=False, failed=2, at=at)
    requests(canary, 10, candidate=True, failed=1, at=at)
    # None of these is part of the split: the callers' own errors, a version that was named, another stage, other sides.
    requests(canary, 3, candidate=True, at=at, status=499, code="client_closed")
    requests(canary, 3, candidate=True, at=at, status=429, code="rate_limit")
    requests(canary, 3, candidate=True, failed=3, at=at, stage="")
    requests(canary, 3, candidate=True, failed=3, at=at, stage="shadow")
    requests(canary, 3, candidate=True, failed=3, at=at, release=canary.stable)
    requests(canary, 3, candidate=False, failed=3, at=at, release=canary.candidate)
    # A failure is the model's where the prompt does not fit, and where its queue is full.
    requests(canary, 1, candidate=True, at=at, key=next_key(canary, 20), status=413, code="too_long")
    requests(canary, 1, candidate=True, at=at, key=next_key(canary, 21), status=429, code="queue_full")
    check_all(soon(5))
    [step] = steps()
    counts = step.counts
    assert (counts.stable_requests, counts.stable_failures, counts.stable_documents_failed) == (30, 2, 2)
    assert (counts.candidate_requests, counts.candidate_failures, counts.candidate_documents_failed) == (12, 3, 3)
    rollout = Rollout.objects.get()
    assert (rollout.verdict, rollout.code) == ("wait", "few_requests")


def next_key(deployment: Deployment, number: int) -> str:
    """A key of the candidate's part that the first rows do not have."""
    from itertools import islice

    from tests.serving.rollouts.rows import keys

    return next(islice(keys(0, deployment.share), number, None))


def test_an_output_that_the_larger_model_replaced_is_a_failure(canary: Deployment) -> None:
    """The caller got an answer, but not of the candidate; where it was only unsure, its output was valid."""
    requests(canary, 30, candidate=False, at=soon())
    for reason, number in (("invalid", 1), ("unavailable", 2), ("invariant", 4), ("confidence", 8)):
        requests(canary, number, candidate=True, at=soon(), source="fallback", fallback_reason=reason)
    check_all(soon(5))
    [step] = steps()
    assert (step.counts.candidate_requests, step.counts.candidate_failures) == (15, 3)


def test_a_repeated_failing_document_is_one_failure(canary: Deployment) -> None:
    key = next_key(canary, 0)
    for seconds in range(1, 40):
        requests(canary, 1, candidate=True, failed=1, at=soon(seconds / 10), key=key)
    requests(canary, 200, candidate=False, failed=1, at=soon())
    check_all(soon(9))
    [step] = steps()
    assert (step.counts.candidate_failures, step.counts.candidate_documents_failed) == (39, 1)
    assert Rollout.objects.get().log_e["fails_more"] < 3


def test_requests_settle_and_are_counted_once(canary: Deployment) -> None:
    requests(canary, 40, candidate=True, at=soon())
    for seconds in (5, 100, 200, 300, 400):
        check_all(soon(seconds))
        [step] = steps()
        assert step.counts.candidate_requests == 40
    assert (step.settled.candidate_requests, step.recent.candidate_requests) == (40, 0)
    # A slow request that began before it was counted is in the table later.
    requests(canary, 2, candidate=True, failed=2, at=soon(350))
    check_all(soon(420))
    assert steps()[-1].counts.candidate_requests == 42


def test_a_good_canary_waits_for_a_person(world: World, canary: Deployment) -> None:
    requests(canary, 600, candidate=True, at=soon())
    requests(canary, 1_800, candidate=False, at=soon())
    check_all(soon(5))
    assert current(world).share == 0.25
    rollout = Rollout.objects.get()
    assert (rollout.verdict, rollout.code, rollout.outcome) == ("promote", "ready", "")


def test_a_plan_promotes_share_by_share_up_to_all_requests(world: World, canary: Deployment) -> None:
    RolloutPlan.objects.create(deployment=canary, auto_promote=True)
    begin = soon()

    def at(seconds: int) -> datetime:
        return begin + timedelta(seconds=seconds)

    requests(canary, 600, candidate=True, at=at(1))
    requests(canary, 1_800, candidate=False, at=at(1))
    check_all(at(5))
    deployment = current(world)
    assert (deployment.stage, deployment.share, deployment.candidate) == ("canary", 0.5, canary.candidate)
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user, event.share) == ("promoted", None, 0.5)
    DeploymentEvent.objects.filter(pk=event.pk).update(created_at=at(5))
    check_all(at(10))  # evidence carries over, but the new share has no requests yet
    assert [step.share for step in steps()] == [0.25, 0.5]
    assert [step.counts.candidate_requests for step in steps()] == [600, 0]
    assert Rollout.objects.get().code == "few_requests"
    requests(deployment, 250, candidate=True, at=at(11))
    requests(canary, 1, candidate=False, failed=1, at=at(4))  # began before the change, stored after it
    check_all(at(15))
    assert steps()[0].counts.stable_failures == 1
    deployment = current(world)
    assert (deployment.stage, deployment.share) == ("full", 1.0)
    services.finish_promotion(deployment)
    check_all(at(20))
    rollout = Rollout.objects.get()
    assert (rollout.outcome, rollout.ended_at is not None) == ("promoted", True)


def test_an_unapproved_model_stays_in_shadow(world: World, deployment: Deployment) -> None:
    run = evaluated(world, right, tuned=False)
    deployment = services.deploy(project=world.project, user=world.engineer, stage="shadow", run=run)
    assert deployment.candidate is not None
    answering(deployment.candidate)
    RolloutPlan.objects.create(deployment=deployment, auto_promote=True)
    pairs(deployment, 500, at=soon())
    check_all(soon(5))
    assert current(world).stage == "shadow"
    assert Rollout.objects.get().verdict == "promote"


def test_shadow_compares_pairs(world: World, shadow: Deployment) -> None:
    pairs(shadow, 100, candidate_failed=2, stable_failed=3, at=soon())
    check_all(soon(5))
    counts = steps()[0].counts
    assert (counts.candidate_requests, counts.candidate_documents_failed, counts.stable_documents_failed) == (100, 2, 3)
    assert current(world).candidate == shadow.candidate
    pairs(shadow, 200, candidate_failed=20, at=soon())
    check_all(soon(9))
    assert current(world).candidate is None
    assert Rollout.objects.get().code == "fails_more"


def test_a_slow_candidate_is_aborted(world: World, canary: Deployment) -> None:
    RolloutPlan.objects.create(deployment=canary, p95_ms=200)
    requests(canary, 150, candidate=True, at=soon())
    requests(canary, 40, candidate=True, at=soon(), total_ms=300.0)
    requests(canary, 300, candidate=False, at=soon())
    check_all(soon(5))
    assert Rollout.objects.get().code == "slow"
    assert current(world).candidate is None


def test_nothing_is_aborted_while_the_stable_version_does_not_answer(world: World, canary: Deployment) -> None:
    Replica.objects.filter(release=canary.stable).delete()
    requests(canary, 100, candidate=True, failed=50, at=soon())
    check_all(soon(5))
    assert current(world).candidate == canary.candidate
    assert isinstance(canary.stable, Release)
    answering(canary.stable)
    check_all(soon(10))
    assert current(world).candidate == canary.candidate
    assert steps()[0].counts.candidate_failures == 0


def test_requests_without_a_replica_are_no_evidence(world: World, canary: Deployment) -> None:
    """A busy host kept heartbeats and connections from the candidate: that says nothing about its outputs."""
    requests(canary, 60, candidate=False, at=soon())
    requests(canary, 30, candidate=True, at=soon(), status=503, code="no_replica")
    check_all(soon(5))
    assert current(world).candidate == canary.candidate
    counts = steps()[0].counts
    assert (counts.stable_requests, counts.candidate_requests, counts.candidate_failures) == (60, 0, 0)


def test_pairs_without_a_replica_are_no_evidence(world: World, shadow: Deployment) -> None:
    pairs(shadow, 90, candidate_failed=30, at=soon())
    RequestLog.objects.filter(status=502).update(status=503, code="no_replica")
    check_all(soon(5))
    assert current(world).candidate == shadow.candidate
    counts = steps()[0].counts
    assert (counts.candidate_failures, counts.candidate_documents_failed) == (0, 0)
    assert (counts.stable_requests, counts.candidate_requests) == (60, 60)


def test_a_rollout_waits_for_the_replicas_of_its_candidate(world: World, canary: Deployment) -> None:
    RolloutPlan.objects.create(deployment=canary, auto_promote=True)
    requests(canary, 600, candidate=True, at=soon())
    requests(canary, 1_800, candidate=False, at=soon())
    replica = Replica.objects.get(release=canary.candidate)
    Replica.objects.filter(pk=replica.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=1))
    check_all(soon(5))
    rollout = Rollout.objects.get()
    assert (rollout.verdict, rollout.code, current(world).share) == ("wait", "absent", 0.25)
    status = queries.status_of(world.project, soon(5))
    assert status is not None
    assert status.badge == ("failed", "on hold")
    Replica.objects.filter(pk=replica.pk).update(heartbeat_at=timezone.now())
    check_all(soon(10))
    assert (Rollout.objects.get().verdict, current(world).share) == ("promote", 0.5)


@pytest.mark.parametrize(("candidate", "stable", "outcome"), [(6, 0, ""), (7, 0, "aborted"), (7, 6, ""), (0, 9, "")])
def test_a_candidate_whose_replicas_crash_is_aborted(
    world: World, shadow: Deployment, candidate: int, stable: int, outcome: str
) -> None:  # fmt: skip
    """Also one whose replica does not answer now; a host that ends the processes of both is not its fault."""
    assert shadow.candidate is not None
    Replica.objects.filter(release=shadow.candidate).update(state=Replica.State.FAILED)
    before = timezone.now() - timedelta(hours=1)
    for release, number in ((shadow.candidate, candidate), (shadow.stable, stable)):
        ReplicaCrash.objects.bulk_create(
            ReplicaCrash(release=release, host="here", created_at=at)
            for at in [before] * 9 + [soon()] * number
        )  # fmt: skip
    check_all(soon(5))
    rollout = Rollout.objects.get()
    assert (rollout.outcome, rollout.code) == (outcome, "crashes" if outcome else "absent")
    assert (current(world).candidate is None) == bool(outcome)


def test_a_new_candidate_begins_without_evidence(world: World, canary: Deployment) -> None:
    requests(canary, 60, candidate=True, failed=1, at=soon())
    check_all(soon(5))
    services.abort(deployment=canary, user=world.engineer, reason="Again.")
    assert canary.candidate is not None
    assert canary.candidate.report is not None
    services.deploy(
        project=world.project, user=world.engineer, stage="canary", share=0.25, report=canary.candidate.report
    )
    RequestLog.objects.all().delete()
    check_all(soon(10))
    first, second = Rollout.objects.order_by("pk")
    assert (first.outcome, second.outcome) == ("aborted", "")
    assert steps(second)[0].counts.candidate_requests == 0


@pytest.mark.django_db(transaction=True)
def test_two_hosts_do_not_act_at_the_same_time(canary: Deployment) -> None:
    with transaction.atomic():
        Deployment.objects.select_for_update().get(pk=canary.pk)
        from concurrent.futures import ThreadPoolExecutor

        def other() -> bool:
            try:
                return check(canary.pk, soon())
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            assert not pool.submit(other).result()
    now = soon()
    assert check(canary.pk, now)
    assert not check(canary.pk, now)
