"""An external model as a release: a real HTTP server that speaks the OpenAI protocol answers through the gateway."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.clients.openai_options import EndpointConfig
from serving.gateway.external_models import ExternalModels, ExternalRoute
from serving.gateway.problems import GatewayProblem
from serving.gateway.routes import ReleaseRoute
from tests.evaluation import fake_openai
from tests.serving import event_loop
from tests.serving.gateway.rig import RAW, SCHEMA, TEXT, backend, release, reply, rig, route


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    """The gateway may call this machine."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


def external(url: str, *, problem: str = "", **changes: Any) -> ReleaseRoute:
    """A release that this URL answers for."""
    config = EndpointConfig(url=url, model="big", **changes) if not problem else None
    return ReleaseRoute(9, 9, SCHEMA, external=ExternalRoute(4, "Big", config, "Extract.", SCHEMA, problem))


def test_an_external_model_answers(tmp_path: Path) -> None:
    async def work(fake: fake_openai.Fake) -> None:
        async with rig(tmp_path, route(external(fake.url))) as found:
            response = await found.extract()
            assert response.status_code == 200
            assert f'"output":{RAW}' in response.text
            assert response.json()["model"] == "invoices@9"
            [row] = found.log.rows()
            assert (row["release_id"], row["status"], row["output"]) == (9, 200, RAW)
            assert row["model_ms"] > 0
        assert TEXT in str(fake.asked[0]["messages"])
        assert "Extract." in str(fake.asked[0]["messages"])

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(RAW)]
        event_loop.run(work(fake))


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (fake_openai.says('{"number": 5}'), 502, "invalid_output"),
        (fake_openai.says("I am sorry"), 502, "invalid_output"),
        (fake_openai.error(401, "wrong key"), 502, "engine"),
        (fake_openai.error(400, "maximum context length exceeded"), 413, "too_long"),
    ],
)
def test_what_it_gets_wrong_is_an_error(tmp_path: Path, answer: Any, status: int, code: str) -> None:
    async def work(fake: fake_openai.Fake) -> None:
        async with rig(tmp_path, route(external(fake.url, structured="free"))) as found:
            response = await found.extract()
            assert (response.status_code, response.json()["code"]) == (status, code)

    with fake_openai.running() as fake:
        fake.replies = [answer]
        event_loop.run(work(fake))


async def test_without_its_key_it_cannot_be_called(tmp_path: Path) -> None:
    async with rig(tmp_path, route(external("http://127.0.0.1:9/v1", problem="The key is not set."))) as found:
        response = await found.extract()
        assert (response.status_code, response.json()["code"]) == (503, "endpoint")


def test_a_small_model_runs_in_shadow_of_the_external_one(tmp_path: Path) -> None:
    async def work(fake: fake_openai.Fake) -> None:
        async with backend(tmp_path / "a", reply()) as small:
            deployed = route(external(fake.url), release(2, small.address), stage="shadow")
            async with rig(tmp_path, deployed) as found:
                assert (await found.extract()).json()["version"] == 9
                await asyncio.gather(*found.gateway.responder.shadows)
                answered, shadow = found.log.rows()
                assert (answered["release_id"], shadow["release_id"]) == (9, 2)
                assert shadow["shadow_of"] == answered["id"]

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(RAW)]
        event_loop.run(work(fake))


LONG = "\n\n".join(f"{TEXT} part {at} of a long document" for at in range(40))


def test_the_tokens_of_windows_are_counted_where_a_later_one_fails(tmp_path: Path) -> None:
    async def work(fake: fake_openai.Fake) -> None:
        async with rig(tmp_path, route(external(fake.url, structured="free", window_tokens=128))) as found:
            response = await found.extract(text=LONG)
            assert (response.status_code, len(fake.asked)) == (502, 2)
            [row] = found.log.rows()
            assert (row["prompt_tokens"], row["output_tokens"]) == (100, 20)

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(RAW), fake_openai.error(401, "wrong key")]
        event_loop.run(work(fake))


def test_no_further_window_is_sent_once_no_one_waits(settings: Any) -> None:
    async def work(fake: fake_openai.Fake) -> None:
        models = ExternalModels(60)
        target = external(fake.url, structured="free", window_tokens=128, concurrency=1).external
        assert target is not None
        answer = asyncio.ensure_future(models.answer(target, LONG, max_queue=0))
        while not fake.asked:
            await asyncio.sleep(0.01)
        answer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answer
        # Its request is still at the server: the place is taken.
        with pytest.raises(GatewayProblem) as refused:
            await models.answer(target, TEXT, max_queue=0)
        assert refused.value.code == "queue_full"
        while models.is_busy(target):
            await asyncio.sleep(0.01)
        assert len(fake.asked) == 1
        models.close()

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.slowly(0.3, fake_openai.says(RAW))]
        event_loop.run(work(fake))


def test_a_change_of_the_settings_does_not_break_a_document_in_flight() -> None:
    async def work(fake: fake_openai.Fake) -> None:
        models = ExternalModels(60)
        before = external(fake.url, structured="free", window_tokens=128).external
        after = external(fake.url, structured="free", window_tokens=128, concurrency=2).external
        assert before is not None
        assert after is not None
        first = asyncio.ensure_future(models.answer(before, LONG, max_queue=0))
        while not fake.asked:
            await asyncio.sleep(0.01)
        second = await models.answer(after, TEXT, max_queue=0)
        assert (second.finish_reason, (await first).finish_reason) == ("stop", "stop")
        models.close()

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.slowly(0.05, fake_openai.says(RAW))]
        event_loop.run(work(fake))
