"""A candidate whose outputs are broken is taken out without a person: gateway, log, evidence and deployment in one."""

from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from serving.models import Deployment, DeploymentEvent, RequestLog
from serving.rollouts import watch
from tests.evaluation.factories import World
from tests.serving import event_loop
from tests.serving.gateway.rig import backend, reply, rig, route, row_of
from tests.serving.gateway.rig import release as release_route
from tests.serving.rollouts.rows import current, with_candidate

#: what a model with noise on its weights writes: no end within the token limit
BROKEN: dict[str, Any] = {"raw": '{"number":"rq rq rq rq rq rq', "finish_reason": "length"}


def answered(folder: Path, deployment: Deployment, number: int, **candidate: Any) -> list[dict[str, Any]]:
    """The rows of so many different documents."""

    async def work() -> list[dict[str, Any]]:
        async with backend(folder / "a", reply()) as good, backend(folder / "b", reply(**candidate)) as other:
            stable = release_route(deployment.stable_id or 0, good.address)
            tried = release_route(deployment.candidate_id or 0, other.address)
            deployed = route(stable, tried, stage=deployment.stage, share=deployment.share)
            async with rig(folder, deployed) as gateway:
                for at in range(number):
                    answer = await gateway.extract(f"Invoice {at}")
                    assert answer.status_code == 200 or candidate
                    for shadow in list(gateway.gateway.responder.shadows):
                        await shadow
                return gateway.log.rows()

    return event_loop.run(work())


def stored(deployment: Deployment, rows: list[dict[str, Any]]) -> None:
    """As the log's process stores them."""
    for row in rows:
        row["project_id"] = deployment.project_id
    RequestLog.objects.bulk_create([row_of(row) for row in rows])


@pytest.mark.parametrize(("stage", "share"), [("shadow", None), ("canary", 0.5)])
def test_a_broken_candidate_is_aborted_without_a_person(
    world: World, tmp_path: Path, stage: str, share: float | None
) -> None:
    deployment = with_candidate(world, stage=stage, share=share)
    rows = answered(tmp_path, deployment, 40, **BROKEN)
    failed = [row for row in rows if row["status"] == 502]
    assert {row["release_id"] for row in failed} == {deployment.candidate_id}
    # In shadow no caller noticed.
    assert all(bool(row["shadow_of"]) == (stage == "shadow") for row in failed)
    stored(deployment, rows)
    watch.check(deployment.pk, timezone.now())
    assert current(world).candidate is None
    event = DeploymentEvent.objects.latest("pk")
    assert (event.kind, event.user) == ("aborted", None)


@pytest.mark.parametrize(("stage", "share"), [("shadow", None), ("canary", 0.5)])
def test_valid_outputs_of_a_broken_model_are_noticed_too(
    world: World, tmp_path: Path, stage: str, share: float | None
) -> None:
    deployment = with_candidate(world, stage=stage, share=share)
    rows = answered(tmp_path, deployment, 60, raw='{"number":"rq rq rq","total":0}')
    assert {row["status"] for row in rows} == {200}
    assert {row["agreement"] for row in rows if row["shadow_of"]} == {0.0}
    # In a canary the stable version repeats what the candidate answered.
    other = deployment.candidate_id if stage == "shadow" else deployment.stable_id
    assert {row["release_id"] for row in rows if row["shadow_of"]} == {other}
    stored(deployment, rows)
    watch.check(deployment.pk, timezone.now())
    assert current(world).candidate is None
    assert deployment.rollouts.get().code == "disagrees"


def test_a_good_one_stays(world: World, tmp_path: Path, canary: Deployment) -> None:
    stored(canary, answered(tmp_path, canary, 40))
    watch.check(canary.pk, timezone.now())
    assert current(world).candidate == canary.candidate
