"""Replays: logged requests for a candidate in shadow, as paired evidence, behind live traffic."""

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from serving.comparisons import replay as jobs
from serving.comparisons import services
from serving.gateway.tokens import issue_pass
from serving.models import Deployment, RequestLog, TrafficComparison
from serving.rollouts import log_counts, watch
from serving.rollouts.counts import Step
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.hashing import sha256_text
from tests.evaluation.factories import World
from tests.serving.gateway.rig import RAW, backend, release, reply, rig, route, row_of


def logged(deployment: Deployment, number: int, *, at: Any = None, **changes: Any) -> list[RequestLog]:
    """Requests that the stable version answered before the candidate was there."""
    at = at or timezone.now() - timedelta(days=3)
    rows = []
    for index in range(number):
        text = f"Invoice {index}"
        values: dict[str, Any] = {
            "id": uuid.uuid4(), "day": at.date(), "created_at": at + timedelta(seconds=index), "stage": "",
            "project_id": deployment.project_id, "release": deployment.stable, "source": "stable", "status": 200,
            "protocol": "extract", "key_sha256": sha256_text(text), "text": text, "output": RAW, "total_ms": 50.0,
            **changes,
        }  # fmt: skip
        rows.append(RequestLog(**values))
    return RequestLog.objects.bulk_create(rows)


class Gateway:
    """Stands in for the gateway: answers of one request after the other, the last for ever; logs like it."""

    def __init__(self, deployment: Deployment, *answers: tuple[int, int]) -> None:
        self.deployment, self.answers, self.asked = deployment, list(answers), []  # type: ignore[var-annotated]

    def post(self, client: Any, url: str, slug: str, body: dict[str, Any]) -> tuple[int, int]:
        self.asked.append(body["text"])
        status, answered = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 200:
            at = timezone.now()
            RequestLog.objects.create(
                id=uuid.uuid4(), day=at.date(), created_at=at, project_id=self.deployment.project_id, stage="shadow",
                release=self.deployment.candidate, source="candidate", protocol="replay", status=answered,
                shadow_of=body["request_id"], key_sha256=body["key"], total_ms=9_000.0,
            )  # fmt: skip
        return status, answered


def run(replay: TrafficComparison, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> TrafficComparison:
    """The job with this gateway."""
    monkeypatch.setattr(jobs, "_post", gateway.post)
    monkeypatch.setattr(jobs, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("serving.comparisons.replay.time.sleep", lambda seconds: None)
    jobs.run_replay(replay.pk)
    replay.refresh_from_db()
    return replay


def test_logged_requests_become_pairs(world: World, shadow: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(shadow, 4)
    logged(shadow, 1, status=400, key_sha256="x")  # no answer, and no failure of the model
    replay = services.start_replay(deployment=shadow, user=world.engineer, limit=100)
    assert replay.progress_total == 4
    gateway = Gateway(shadow, (200, 200), (200, 502), (200, 200))
    done = run(replay, gateway, monkeypatch)
    assert (done.status, done.progress_done, done.result["failed"]) == (Status.DONE, 4, 1)
    assert gateway.asked == [f"Invoice {number}" for number in (3, 2, 1, 0)]
    watch.check(shadow.pk, timezone.now())
    counts = Step.from_json(shadow.rollouts.get().steps[-1]).counts
    assert (counts.candidate_requests, counts.candidate_failures, counts.candidate_documents_failed) == (4, 1, 1)
    # A replay waits for others, so its latency says nothing.
    assert counts.candidate_timed == 0


def test_it_goes_on_where_it_stopped(world: World, shadow: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(shadow, 5)
    replay = services.start_replay(deployment=shadow, user=world.engineer, limit=100)
    failing = Gateway(shadow, (200, 200), (200, 200), (0, 0))
    monkeypatch.setattr(jobs, "_MAX_UNREACHABLE", 3)
    stopped = run(replay, failing, monkeypatch)
    assert (stopped.status, stopped.progress_done) == (Status.FAILED, 2)
    again = services.start_replay(deployment=shadow, user=world.engineer, limit=100)
    gateway = Gateway(shadow, (200, 200))
    assert run(again, gateway, monkeypatch).progress_done == 3
    assert not set(gateway.asked) & set(failing.asked[:2])


def test_it_waits_for_live_traffic_and_can_be_cancelled(
    world: World, shadow: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(shadow, 3)
    replay = services.start_replay(deployment=shadow, user=world.engineer, limit=100)
    gateway = Gateway(shadow, (429, 0), (429, 0), (200, 200), (429, 0))

    def post(*arguments: Any) -> tuple[int, int]:
        if len(gateway.asked) == 3:
            services.stop(comparison=replay, user=world.engineer)
        return gateway.post(*arguments)

    monkeypatch.setattr(jobs, "_post", post)
    monkeypatch.setattr("serving.comparisons.replay.time.sleep", lambda seconds: None)
    jobs.run_replay(replay.pk)
    replay.refresh_from_db()
    assert replay.status == Status.CANCELLED
    assert gateway.asked[:3] == ["Invoice 2"] * 3


def test_it_ends_with_the_candidate(world: World, shadow: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(shadow, 3)
    replay = services.start_replay(deployment=shadow, user=world.engineer, limit=100)
    Deployment.objects.filter(pk=shadow.pk).update(candidate=None, stage="", share=0)
    assert run(replay, Gateway(shadow, (409, 0)), monkeypatch).status == Status.FAILED


def test_erased_texts_and_repeated_documents_are_left_out(world: World, shadow: Deployment) -> None:
    logged(shadow, 3)
    logged(shadow, 2, at=timezone.now() - timedelta(days=2))
    RequestLog.objects.filter(text="Invoice 2").update(text="")
    assert services.start_replay(deployment=shadow, user=world.engineer, limit=100).progress_total == 2


def test_what_does_not_start(world: World, shadow: Deployment) -> None:
    for limit in (0, 20_001):
        with pytest.raises(Refused) as refused:
            services.start_replay(deployment=shadow, user=world.engineer, limit=limit)
        assert refused.value.field == "limit"
    with pytest.raises(Refused) as nothing:
        services.start_replay(deployment=shadow, user=world.engineer, limit=10)
    assert nothing.value.code == "nothing"
    with pytest.raises(Forbidden):
        services.start_replay(deployment=shadow, user=world.annotator, limit=10)


def test_the_page_offers_it_where_the_traffic_is_too_small(
    world: World, shadow: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged(shadow, 3)
    client = Client()
    client.force_login(world.engineer)
    page = client.get("/p/invoices/deploy/rollout/", headers={"HX-Request": "true"})
    status = page.context["status"]
    assert (status.is_too_slow, status.offers_replay, status.replayable) == (True, True, 3)
    monkeypatch.setattr(log_counts, "OFFERED", 2)
    assert log_counts.available(shadow) is None  # not counted
    assert client.post("/p/invoices/deploy/comparisons/new/replay/", {"limit": "1000"}).status_code == 302
    assert TrafficComparison.objects.get().progress_total == 3
    assert client.post("/p/invoices/deploy/comparisons/new/replay/", {"limit": "1000"}).status_code == 422
    assert client.get("/p/invoices/deploy/comparisons/1/").status_code == 200
    assert client.post("/p/invoices/deploy/comparisons/1/stop/").status_code == 302
    assert TrafficComparison.objects.get().status == Status.CANCELLED


# -- the gateway ------------------------------------------------------------------------------------------------------


def ask(gateway: Any, *, secret: str = "", **changes: Any) -> Any:
    """The gateway's response to the studio."""
    body = {"text": "Invoice 1", "request_id": str(uuid.UUID(int=5)), "version": 2, "key": "k" * 64, **changes}
    headers = {"Authorization": f"Bearer {secret or issue_pass('invoices replay')}"}
    return gateway.client.post("/api/v1/projects/invoices/replay", json=body, headers=headers)


async def test_the_gateway_asks_the_candidate_and_marks_the_row(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as stable, backend(tmp_path / "b", reply()) as small:
        deployed = route(release(1, stable.address), release(2, small.address), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            answer = await ask(gateway, output=RAW.replace("A-17", "B-17"))
            assert (answer.status_code, answer.json()) == (200, {"status": 200, "code": ""})
            [row] = gateway.log.rows()
            assert (row["protocol"], row["stage"], row["source"]) == ("replay", "shadow", "candidate")
            assert row["agreement"] == 0.5
            assert (row["shadow_of"], row["key_sha256"]) == (str(uuid.UUID(int=5)), "k" * 64)
            assert (stable.asked, small.asked) == ([], ["Invoice 1"])
            assert row_of(row).shadow_of == str(uuid.UUID(int=5))


async def test_it_yields_to_callers(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def slowly(text: str) -> Any:
        await go_on.wait()
        return await reply()(text)

    async with backend(tmp_path / "a", slowly) as stable, backend(tmp_path / "b", reply()) as small:
        deployed = route(release(1, stable.address), release(2, small.address), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            caller = asyncio.ensure_future(gateway.extract())
            while not stable.asked:
                await asyncio.sleep(0.005)
            assert (await ask(gateway)).status_code == 429
            go_on.set()
            assert (await caller).status_code == 200
            await asyncio.gather(*gateway.gateway.responder.shadows)
            assert (await ask(gateway)).status_code == 200


async def test_what_the_gateway_rejects(tmp_path: Path) -> None:
    async with backend(tmp_path / "b", reply()) as small:
        deployed = route(release(1), release(2, small.address), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            for secret in ("good", issue_pass("invoices"), issue_pass("receipts replay")):
                assert (await ask(gateway, secret=secret)).status_code == 401
            for changes, status in (({"version": 1}, 409), ({"text": ""}, 422), ({"more": 1}, 422)):
                assert (await ask(gateway, **changes)).status_code == status
            assert (small.asked, gateway.log.rows()) == ([], [])
        changed = route(release(1), release(2, small.address), stage="canary", share=0.5)
        async with rig(tmp_path, changed) as gateway:  # the candidate left shadow
            assert (await ask(gateway)).status_code == 409
