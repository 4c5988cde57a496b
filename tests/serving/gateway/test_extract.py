"""``/api/v1/projects/{slug}/extract``: what callers get, and what is logged."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from serving.gateway import limits as rate_limits
from serving.gateway import replica_pool
from serving.gateway.routes import ReleaseRoute
from slmstudio.contract.translation.translation import translate
from tests.serving import event_loop
from tests.serving.gateway.rig import ANSWER, RAW, TEXT, backend, release, reply, rig, route


def run(work: Any) -> Any:
    return event_loop.run(work)


def test_an_answer_has_output_evidence_confidence_and_version(tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(3, one.address))) as found:
            response = await found.extract()
            assert response.status_code == 200
            assert f'"output":{RAW}' in response.text  # with all digits
            value = response.json()
            assert (value["model"], value["version"], value["valid"]) == ("invoices@3", 3, True)
            assert value["answered_by"] == "stable"
            assert value["confidence"] == {"number": 0.9, "total": 0.8}
            assert value["evidence"] == {"number": [[8, 12]], "total": [[20, 25]]}
            assert value["usage"] == {"prompt_tokens": 30, "output_tokens": 12}
            [row] = found.log.rows()
            assert row["id"] == value["request_id"] == response.headers["x-request-id"]
            assert (row["status"], row["valid"], row["release_id"], row["token_id"]) == (200, True, 3, 7)
            assert (row["text"], row["output"]) == (TEXT, RAW)

    run(work())


def test_a_document_that_is_a_list_is_answered_bare(tmp_path: Path) -> None:
    pasted = '{"type": "array", "items": {"type": "number"}}'
    wrapped = ReleaseRoute(3, 3, translate(pasted).compiled, ())
    raw = '{"items":[1.50,2]}'

    async def work() -> None:
        async with backend(tmp_path / "a", reply(raw=raw, confidence={})) as one:
            stable = replace(wrapped, addresses=(one.address,))
            async with rig(tmp_path, route(stable)) as found:
                response = await found.extract()
                assert '"output":[1.50,2]' in response.text
                assert response.json()["unwrapped"] == "items"
                [row] = found.log.rows()
                assert row["output"] == raw
                chat = await found.client.post(
                    "/v1/chat/completions",
                    json={"model": "invoices", "messages": [{"role": "user", "content": TEXT}]},
                    headers={"Authorization": "Bearer good"},
                )
                assert chat.json()["choices"][0]["message"]["content"] == "[1.50,2]"

    run(work())


def test_without_retention_neither_text_nor_output_is_stored(tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one:
            async with rig(tmp_path, route(release(1, one.address), retention_days=0)) as found:
                assert (await found.extract()).status_code == 200
                [row] = found.log.rows()
                assert (row["text"], row["output"]) == ("", "")

    run(work())


@pytest.mark.parametrize(
    ("token", "slug", "status", "code"),
    [
        ("bad", "invoices", 401, "invalid_token"),
        ("reader", "invoices", 403, "scope"),
        ("other", "invoices", 404, "project"),
        ("good", "receipts", 404, "project"),
        ("other", "receipts", 404, "not_deployed"),
    ],
)
def test_callers_without_access_learn_nothing(tmp_path: Path, token: str, slug: str, status: int, code: str) -> None:
    async def work() -> None:
        async with rig(tmp_path, route(release(1))) as found:
            response = await found.extract(token=token, slug=slug)
            assert (response.status_code, response.json()["code"]) == (status, code)
            assert response.headers["content-type"] == "application/problem+json"

    run(work())


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "invalid_json"),
        (b"", "application/json", 400, "invalid_json"),
        (b'{"text": "\xff"}', "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, "invalid_json"),
        (b"text=1", "application/x-www-form-urlencoded", 415, "content_type"),
        (b"{}", "application/json", 422, "field"),
        (b'{"text": 5}', "application/json", 422, "field"),
        (b'{"text": "  "}', "application/json", 422, "field"),
        (b'{"text": "a\\u0000"}', "application/json", 422, "field"),
        (b'{"text": "a", "evidnce": true}', "application/json", 422, "field"),
        (b'{"text": "' + b"a" * 21_000_000 + b'"}', "application/json", 413, "too_large"),
    ],
    ids=range(11),
)
def test_bad_bodies_are_rejected(tmp_path: Path, body: bytes, kind: str, status: int, code: str) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(1, one.address))) as found:
            response = await found.client.post(
                "/api/v1/projects/invoices/extract",
                content=body,
                headers={"Authorization": "Bearer good", "Content-Type": kind},
            )
            assert (response.status_code, response.json()["code"]) == (status, code)
            assert one.asked == []

    run(work())


@pytest.mark.parametrize(
    ("changes", "status", "code", "valid"),
    [
        ({"raw": '{"number":"A-17"}'}, 502, "invalid_output", False),
        ({"raw": '{"number":"A-17","total":"12"}'}, 502, "invalid_output", False),
        ({"raw": "I am sorry"}, 502, "invalid_output", False),
        ({"raw": RAW[:-4], "finish_reason": "length"}, 502, "invalid_output", False),
        ({"finish_reason": "error", "code": "grammar", "raw": ""}, 502, "grammar", False),
        ({"finish_reason": "error", "code": "too_long", "raw": ""}, 413, "too_long", None),
        ({"finish_reason": "error", "code": "engine", "raw": ""}, 502, "engine", None),
    ],
    ids=range(7),
)
def test_no_invalid_output_leaves_as_a_success(
    tmp_path: Path, changes: dict[str, Any], status: int, code: str, valid: bool | None
) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply(**changes)) as one:
            async with rig(tmp_path, route(release(1, one.address))) as found:
                response = await found.extract()
                assert (response.status_code, response.json()["code"]) == (status, code)
                [row] = found.log.rows()
                assert (row["status"], row["code"], row["valid"]) == (status, code, valid)

    run(work())


@pytest.mark.parametrize("content", [b"<html>", b"", b'{"raw": ', b"[1]"])
def test_a_backend_that_answers_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    async def answer(text: str) -> Response:
        return Response(content, status_code=200)

    async def work() -> None:
        async with backend(tmp_path / "a", answer) as one, rig(tmp_path, route(release(1, one.address))) as found:
            response = await found.extract()
            assert response.status_code in (502, 503)
            assert found.log.rows()[0]["status"] == response.status_code

    run(work())


def test_another_replica_answers_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_pool, "time", SimpleNamespace(monotonic=lambda: 1_000.0))

    async def failing(text: str) -> Response:
        return Response(status_code=500)

    async def work() -> None:
        async with backend(tmp_path / "a", failing) as bad, backend(tmp_path / "b", reply()) as good:
            async with rig(tmp_path, route(release(1, bad.address, good.address, "unix:/none"))) as found:
                codes = [(await found.extract()).status_code for _ in range(8)]
                assert codes == [200] * 8
                assert len(good.asked) == 8
                assert len(bad.asked) == 3  # then its circuit breaker is open

    run(work())


def test_requests_beyond_the_queue_are_rejected(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(text: str) -> Response:
        await gate.wait()
        return JSONResponse(ANSWER)

    async def work() -> None:
        async with backend(tmp_path / "a", slow) as one:
            async with rig(tmp_path, route(release(1, one.address), max_queue=2)) as found:
                waiting = [asyncio.ensure_future(found.extract()) for _ in range(3)]
                while len(one.asked) < 3:
                    await asyncio.sleep(0.005)
                rejected = await found.extract()
                assert (rejected.status_code, rejected.json()["code"]) == (429, "queue_full")
                assert rejected.headers["retry-after"] == "1"
                gate.set()
                assert [(await one).status_code for one in waiting] == [200] * 3

    run(work())


def test_a_token_is_limited_per_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()  # no minute begins in between
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))

    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one:
            async with rig(tmp_path, route(release(1, one.address)), per_minute=3) as found:
                codes = [(await found.extract()).status_code for _ in range(5)]
                assert codes == [200] * 3 + [429] * 2

    run(work())


def test_the_canary_answers_its_share_and_the_same_documents(tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as stable, backend(tmp_path / "b", reply()) as candidate:
            deployed = route(release(1, stable.address), release(2, candidate.address), stage="canary", share=0.25)
            async with rig(tmp_path, deployed) as found:
                texts = [f"document {number}" for number in range(60)]
                first = [(await found.extract(text)).json()["version"] for text in texts]
                again = [(await found.extract(text)).json()["version"] for text in texts]
                assert first == again
                assert 5 <= first.count(2) <= 25
                assert {row["source"] for row in found.log.rows()} == {"stable", "candidate"}

    run(work())


def test_shadow_repeats_requests_unseen(tmp_path: Path) -> None:
    async def work() -> None:
        other = reply(raw='{"number":"B","total":1}')
        async with backend(tmp_path / "a", reply()) as stable, backend(tmp_path / "b", other) as candidate:
            deployed = route(release(1, stable.address), release(2, candidate.address), stage="shadow")
            async with rig(tmp_path, deployed) as found:
                response = await found.extract()
                assert response.json()["version"] == 1
                await asyncio.gather(*found.gateway.responder.shadows)
                answered, shadow = found.log.rows()
                assert candidate.asked == [TEXT]
                assert shadow["shadow_of"] == answered["id"]
                assert (shadow["release_id"], shadow["output"]) == (2, '{"number":"B","total":1}')

    run(work())


async def test_shadow_repeats_failed_requests_too(tmp_path: Path) -> None:
    """Without them only the candidate could fail alone."""
    async with (
        backend(tmp_path / "a", reply(raw="no JSON")) as stable,
        backend(tmp_path / "b", reply()) as candidate,
    ):
        deployed = route(release(1, stable.address), release(2, candidate.address), stage="shadow")
        async with rig(tmp_path, deployed) as found:
            assert (await found.extract()).status_code == 502
            await asyncio.gather(*found.gateway.responder.shadows)
            answered, shadow = found.log.rows()
            assert (answered["status"], shadow["status"]) == (502, 200)
            assert shadow["shadow_of"] == answered["id"]


async def test_a_broken_shadow_harms_no_caller(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as stable:
        deployed = route(release(1, stable.address), release(2, "unix:/none"), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            assert (await gateway.extract()).status_code == 200
            await asyncio.gather(*gateway.gateway.responder.shadows)
            assert [row["status"] for row in gateway.log.rows()] == [200, 503]


@pytest.mark.parametrize(("share", "absent"), [(1.0, "candidate"), (0.0, "stable")])
def test_the_other_release_answers_for_one_whose_replicas_are_gone(tmp_path: Path, share: float, absent: str) -> None:
    """Their heartbeat is still valid. The row says who answered, so it is no part of the split."""

    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one:
            gone = "unix:/none"
            addresses = (one.address, gone) if absent == "candidate" else (gone, one.address)
            deployed = route(release(1, addresses[0]), release(2, addresses[1]), stage="canary", share=share)
            async with rig(tmp_path, deployed) as found:
                answered = (await found.extract()).json()
                expected = (1, "stable") if absent == "candidate" else (2, "candidate")
                assert (answered["version"], answered["answered_by"]) == expected
                # A caller that names a version gets no other one.
                body = {"model": f"invoices@{3 - expected[0]}", "messages": [{"role": "user", "content": TEXT}]}
                authorized = {"Authorization": "Bearer good"}
                response = await found.client.post("/v1/chat/completions", json=body, headers=authorized)
                assert response.status_code == 503
                first = found.log.rows()[0]
                assert (first["release_id"], first["status"]) == (expected[0], 200)

    run(work())


def test_until_the_candidate_answers_the_stable_release_does(tmp_path: Path) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as stable:
            deployed = route(release(1, stable.address), release(2), stage="full", share=1.0)
            async with rig(tmp_path, deployed) as found:
                assert (await found.extract()).json()["version"] == 1

    run(work())


def test_a_full_disk_answers_no_success_that_is_not_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with backend(tmp_path / "a", reply()) as one, rig(tmp_path, route(release(1, one.address))) as found:

            def full(entry: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(found.log, "write", full)
            response = await found.extract()
            assert (response.status_code, response.json()["code"]) == (503, "log")

    run(work())


def test_a_caller_that_hangs_up_cancels_the_generation(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def never(text: str) -> Response:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Response()

    async def work() -> None:
        async with backend(tmp_path / "a", never) as one, rig(tmp_path, route(release(1, one.address))) as found:
            sent: list[Any] = []
            gone = asyncio.Event()
            body = json.dumps({"text": TEXT}).encode()
            messages = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> Any:
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)

            scope = {
                "type": "http", "method": "POST", "path": "/api/v1/projects/invoices/extract", "query_string": b"",
                "headers": [(b"authorization", b"Bearer good"), (b"content-type", b"application/json")],
                "app": None, "http_version": "1.1", "scheme": "http", "server": ("gateway", 80), "root_path": "",
            }  # fmt: skip
            app = found.client._transport.app  # type: ignore[attr-defined]
            asking = asyncio.ensure_future(app(scope, receive, send))
            while not one.asked:
                await asyncio.sleep(0.005)
            gone.set()
            await asking
            [row] = found.log.rows()
            assert (row["status"], row["code"]) == (499, "client_closed")

    run(work())
