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
from tests.serving.gateway.rig import RAW, SCHEMA, TEXT, rig, route


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    """The gateway may call this machine."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


def external(url: str, *, problem: str = "", **changes: Any) -> ReleaseRoute:
    """A release that this URL answers for."""
    config = EndpointConfig(url=url, model="big", **changes) if not problem else None
    return ReleaseRoute(9, 9, SCHEMA, external=ExternalRoute(4, "Big", config, "Extract.", SCHEMA, problem))


async def test_an_external_model_answers(tmp_path: Path) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(RAW)]
        async with rig(tmp_path, route(external(fake.url))) as gateway:
            response = await gateway.extract()
            assert response.status_code == 200
            assert f'"output":{RAW}' in response.text
            assert response.json()["model"] == "invoices@9"
            [row] = gateway.log.rows()
            assert (row["release_id"], row["status"], row["output"]) == (9, 200, RAW)
            assert row["model_ms"] > 0
        assert TEXT in str(fake.asked[0]["messages"])
        assert "Extract." in str(fake.asked[0]["messages"])


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [(401, "wrong key", (502, "engine")), (400, "maximum context length exceeded", (413, "too_long"))],
)
async def test_what_it_gets_wrong_is_an_error(
    tmp_path: Path, status: int, message: str, expected: tuple[int, str]
) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.error(status, message)]
        async with rig(tmp_path, route(external(fake.url, structured="free"))) as gateway:
            response = await gateway.extract()
            assert (response.status_code, response.json()["code"]) == expected
    async with rig(tmp_path, route(external(fake.url, problem="The key is not set."))) as gateway:
        response = await gateway.extract()
        assert (response.status_code, response.json()["code"]) == (503, "endpoint")


LONG = "\n\n".join(f"{TEXT} part {at} of a long document" for at in range(40))


async def test_the_tokens_of_windows_are_counted_where_a_later_one_fails(tmp_path: Path) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(RAW), fake_openai.error(401, "wrong key")]
        async with rig(tmp_path, route(external(fake.url, structured="free", window_tokens=128))) as gateway:
            response = await gateway.extract(text=LONG)
            assert (response.status_code, len(fake.asked)) == (502, 2)
            [row] = gateway.log.rows()
            assert (row["prompt_tokens"], row["output_tokens"]) == (100, 20)


async def test_no_further_window_is_sent_once_no_one_waits(settings: Any) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.slowly(0.3, fake_openai.says(RAW))]
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


async def test_a_change_of_the_settings_does_not_break_a_document_in_flight() -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.slowly(0.05, fake_openai.says(RAW))]
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
