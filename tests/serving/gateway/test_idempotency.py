"""Idempotency keys, with a real Valkey."""

import asyncio
from pathlib import Path
from typing import Any

from django.conf import settings
from starlette.responses import JSONResponse, Response

from tests.serving import event_loop
from tests.serving.gateway.rig import ANSWER, TEXT, backend, release, reply, rig, route

KEY = {"Idempotency-Key": "order 17"}


def test_a_repeated_request_gets_the_first_response(queues: None, tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one:
            async with rig(tmp_path, route(release(1, one.address)), redis=settings.REDIS_URL) as found:
                first = await found.extract(headers=KEY)
                again = await found.extract(headers=KEY)
                assert (first.status_code, again.status_code) == (200, 200)
                assert again.content == first.content
                assert again.headers["idempotent-replayed"] == "true"
                assert len(one.asked) == 1
                other = await found.extract("another text", headers=KEY)
                assert (other.status_code, other.json()["code"]) == (422, "idempotency_key")
                assert (await found.extract(headers={"Idempotency-Key": "order 18"})).status_code == 200
                assert len(one.asked) == 2

    event_loop.run(work())


def test_a_second_request_while_the_first_is_answered(queues: None, tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(text: str) -> Response:
        await gate.wait()
        return JSONResponse(ANSWER)

    async def work() -> None:
        async with backend(tmp_path / "a", slow) as one:
            async with rig(tmp_path, route(release(1, one.address)), redis=settings.REDIS_URL) as found:
                first = asyncio.ensure_future(found.extract(headers=KEY))
                while not one.asked:
                    await asyncio.sleep(0.005)
                second = await found.extract(headers=KEY)
                assert (second.status_code, second.json()["code"]) == (409, "in_progress")
                gate.set()
                assert (await first).status_code == 200

    event_loop.run(work())


def test_a_failed_request_may_be_sent_again(queues: None, tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [{**ANSWER, "raw": "no JSON"}, ANSWER]

    async def second_time(text: str) -> Response:
        return JSONResponse(answers.pop(0))

    async def work() -> None:
        async with backend(tmp_path / "a", second_time) as one:
            async with rig(tmp_path, route(release(1, one.address)), redis=settings.REDIS_URL) as found:
                codes = [(await found.extract(headers=KEY)).status_code for _ in range(3)]
                assert codes == [502, 200, 200]
                assert len(one.asked) == 2

    event_loop.run(work())


def test_without_the_queue_server_requests_are_answered(tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(1, one.address))) as found:
            codes = [(await found.extract(TEXT, headers=KEY)).status_code for _ in range(2)]
            assert codes == [200, 200]
            assert len(one.asked) == 2

    event_loop.run(work())
