"""A canary with sticky callers: gateway and log agree about who is whose, and callers are counted."""

import hashlib
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from serving.deployments import services
from serving.gateway.responder import ExtractionRequest, caller_name
from serving.gateway.routes import position
from serving.models import Deployment, DeploymentEvent, RequestLog
from serving.rollouts import watch
from serving.rollouts.counts import Step
from slmstudio.errors import Refused
from tests.evaluation.factories import World
from tests.serving import event_loop
from tests.serving.gateway.rig import backend, reply, rig, route
from tests.serving.gateway.rig import release as release_route
from tests.serving.rollouts.rows import current, with_candidate
from tests.shared_rows import shared_fixture

CALLERS = [f"customer-{number}" for number in range(40)]


@shared_fixture
def deployment(world: World) -> Deployment:
    """A canary of half of the callers."""
    started = with_candidate(world, stage="shadow")
    services.set_options(deployment=started, user=world.engineer, capture="", sticky=True)
    services.promote(deployment=started, user=world.engineer, share=0.5)
    return current(world)


def is_candidates(caller: str, share: float = 0.5) -> bool:
    """Whether a caller gets the candidate."""
    return position(hashlib.sha256(caller_name(caller, None).encode()).hexdigest()) < share


def sent(deployment: Deployment, caller: str, number: int, failed: int, at: datetime, *, past: bool = False) -> None:
    """Requests of a caller, before the rollout or in the canary."""
    release = deployment.candidate_id if is_candidates(caller) and not past else deployment.stable_id
    RequestLog.objects.bulk_create(
        RequestLog(
            id=uuid.uuid4(), day=at.date(), created_at=at, project_id=deployment.project_id, release_id=release,
            stage="" if past else "canary", source="stable", protocol="extract", caller=caller, total_ms=10.0,
            key_sha256=hashlib.sha256(f"{caller} {index} {past}".encode()).hexdigest(),
            status=502 if index < failed else 200,
        )
        for index in range(number)
    )  # fmt: skip


def test_a_caller_always_gets_the_same_version(tmp_path: Path) -> None:
    async def work() -> dict[str, set[int]]:
        async with backend(tmp_path / "a", reply()) as replica, backend(tmp_path / "b", reply()) as other:
            releases = release_route(1, replica.address), release_route(2, other.address)
            deployed = route(*releases, stage="canary", share=0.5, sticky=True)
            async with rig(tmp_path, deployed) as gateway:
                return {
                    caller: {(await gateway.extract(f"Invoice {n}", caller=caller)).json()["version"] for n in range(4)}
                    for caller in CALLERS[:12]
                }

    versions = event_loop.run(work())
    assert versions == {caller: {2 if is_candidates(caller) else 1} for caller in CALLERS[:12]}
    assert set.union(*versions.values()) == {1, 2}


def test_without_a_name_the_token_is_the_caller() -> None:
    sticky = route(None, None, sticky=True)
    first, same, other = (
        ExtractionRequest(text, "extract", token_id=token) for text, token in (("a", 7), ("b", 7), ("b", 8))
    )
    assert first.split_sha256(sticky) == same.split_sha256(sticky) != other.split_sha256(sticky)
    assert first.split_sha256(route(None)) != same.split_sha256(route(None))


def test_one_caller_with_bad_documents_is_no_reason(world: World, deployment: Deployment) -> None:
    before = timezone.now() - timedelta(days=2)
    worst = next(caller for caller in CALLERS if is_candidates(caller))
    for number, caller in enumerate(CALLERS):
        sent(deployment, caller, 10, 0, before, past=True)
        sent(deployment, caller, 5 + number % 7, 0, timezone.now())
    sent(deployment, worst, 200, 100, before, past=True)
    sent(deployment, worst, 150, 80, timezone.now())
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=5))
    assert current(world).candidate == deployment.candidate
    rollout = deployment.rollouts.get()
    step = Step.from_json(rollout.steps[-1])
    assert (step.counts.candidate_failures, step.checkpoint, rollout.code) == (80, 3, "callers")


def test_a_candidate_that_fails_all_its_callers_is_aborted(world: World, deployment: Deployment) -> None:
    before = timezone.now() - timedelta(days=2)
    for caller in CALLERS:
        sent(deployment, caller, 10, 0, before, past=True)
        sent(deployment, caller, 8, 8 if is_candidates(caller) else 0, timezone.now())
    watch.check(deployment.pk, timezone.now() + timedelta(seconds=5))
    assert current(world).candidate is None
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user) == ("aborted", None)


def test_it_is_not_changed_while_requests_are_split(world: World, deployment: Deployment) -> None:
    with pytest.raises(Refused) as refused:
        services.set_options(deployment=deployment, user=world.engineer, capture="", sticky=False)
    assert refused.value.field == "sticky"
