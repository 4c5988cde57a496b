"""Idempotency keys, with a real Valkey."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from starlette.responses import JSONResponse, Response

from serving.gateway import idempotency, responder
from serving.gateway.database import in_database
from serving.gateway.request_log import writer
from serving.models import RequestLog
from serving.retention import services as retention
from tests.serving.gateway.rig import ANSWER, TEXT, answering, backend, release, reply, rig, route

KEY, OTHER = {"Idempotency-Key": "order 17"}, {"Idempotency-Key": "order 19"}


async def test_a_repeated_request_gets_the_first_response(transactional_db: None, queues: None, tmp_path: Path) -> None:
    """By the request log; the queue server has nothing of it."""

    async with answering(tmp_path, redis=settings.REDIS_URL) as (gateway, replica):
        first = await gateway.extract(headers=KEY)
        await gateway.log.store()
        again = await gateway.extract(headers=KEY)
        assert (first.status_code, again.status_code) == (200, 200)
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert len(replica.asked) == 1
        other = await gateway.extract("another text", headers=KEY)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key")
        assert (await gateway.extract(headers={"Idempotency-Key": "order 18"})).status_code == 200
        assert len(replica.asked) == 2
        assert [bytes(value) for value in stored() if b"A-17" in value] == []


def stored() -> list[Any]:
    """Everything that the queue server has, as text."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    return [client.get(key) or b"" for key in client.scan_iter("slm:*") if client.type(key) == b"string"]


async def test_what_was_erased_is_not_returned_again(
    transactional_db: None, queues: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(tmp_path, redis=settings.REDIS_URL) as (gateway, replica):
        for path, body in (
            ("/api/v1/projects/invoices/extract", {"text": TEXT, "caller": "jane"}),
            ("/v1/chat/completions", {"model": "invoices", "messages": [{"role": "user", "content": TEXT}]}),
        ):  # fmt: skip
            headers = {"Authorization": "Bearer good", **KEY}
            assert (await gateway.client.post(path, json=body, headers=headers)).status_code == 200
            await gateway.log.store()
            await in_database(lambda: RequestLog.objects.update(**retention._CONTENT))
            again = await gateway.client.post(path, json=body, headers=headers)
            code = again.json().get("code") or again.json()["error"]["code"]
            assert (again.status_code, code) == (410, "erased")
        assert len(replica.asked) == 2
        # What is too long to be kept is not returned again either.
        monkeypatch.setattr(responder, "MAX_RESPONSE", 100)
        assert (await gateway.extract(headers=OTHER)).status_code == 200
        await gateway.log.store()
        assert (await gateway.extract(headers=OTHER)).status_code == 410


async def test_a_response_that_is_not_stored_yet(
    transactional_db: None, queues: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAITS", (0.001,))
    async with answering(tmp_path, redis=settings.REDIS_URL) as (gateway, replica):
        assert (await gateway.extract(headers=KEY)).status_code == 200
        again = await gateway.extract(headers=KEY)
        assert (again.status_code, len(replica.asked)) == (503, 1)


async def test_a_project_that_stores_nothing_has_no_keys(queues: None, tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as replica:
        deployed = route(release(1, replica.address), retention_days=0)
        async with rig(tmp_path, deployed, redis=settings.REDIS_URL) as gateway:
            before = stored()
            refused = await gateway.extract(headers=KEY)
            assert (refused.status_code, refused.json()["code"], replica.asked) == (422, "idempotency_key", [])
            assert (await gateway.extract()).status_code == 200
            assert not [value for value in stored() if value not in before and b"body" in value]


async def test_keys_of_a_day_have_a_limit(queues: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MAX_KEYS", 2)

    async with answering(tmp_path, redis=settings.REDIS_URL) as (gateway, _):
        keys = [{"Idempotency-Key": str(number)} for number in range(3)]
        assert [(await gateway.extract(headers=key)).status_code for key in keys] == [200, 200, 429]
        assert (await gateway.extract()).status_code == 200


async def test_a_second_request_while_the_first_is_answered(queues: None, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(text: str) -> Response:
        await gate.wait()
        return JSONResponse(ANSWER)

    async with answering(tmp_path, slow, redis=settings.REDIS_URL) as (gateway, replica):
        first = asyncio.ensure_future(gateway.extract(headers=KEY))
        while not replica.asked:
            await asyncio.sleep(0.005)
        second = await gateway.extract(headers=KEY)
        assert (second.status_code, second.json()["code"]) == (409, "in_progress")
        gate.set()
        assert (await first).status_code == 200


async def test_a_failed_request_may_be_sent_again(transactional_db: None, queues: None, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [{**ANSWER, "raw": "no JSON"}, ANSWER]

    async def second_time(text: str) -> Response:
        return JSONResponse(answers.pop(0))

    async with answering(tmp_path, second_time, redis=settings.REDIS_URL) as (gateway, replica):
        codes = []
        for _ in range(3):
            codes.append((await gateway.extract(headers=KEY)).status_code)
            await gateway.log.store()
        assert codes == [502, 200, 200]
        assert len(replica.asked) == 2


async def test_without_the_queue_server_requests_are_answered(tmp_path: Path) -> None:
    async with answering(tmp_path) as (gateway, replica):
        codes = [(await gateway.extract(TEXT, headers=KEY)).status_code for _ in range(2)]
        assert codes == [200, 200]
        assert len(replica.asked) == 2
