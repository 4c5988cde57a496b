"""``/api/v1/projects/{slug}/extract``: what callers get, and what is logged."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from starlette.responses import JSONResponse, Response

from serving.gateway import limits as rate_limits
from serving.gateway import replica_pool
from serving.gateway.routes import ReleaseRoute
from slmstudio.contract.translation.translation import translate
from slmstudio.logs.json_lines import JsonLines
from tests.serving.gateway.rig import ANSWER, RAW, TEXT, Reply, Rig, answering, backend, release, reply, rig, route


async def chat(gateway: Rig, *, model: str = "invoices") -> Any:
    """The response of the other interface to the same document."""
    body = {"model": model, "messages": [{"role": "user", "content": TEXT}]}
    return await gateway.client.post("/v1/chat/completions", json=body, headers={"Authorization": "Bearer good"})


async def test_an_answer_has_output_evidence_confidence_and_version(tmp_path: Path) -> None:
    async with (
        backend(tmp_path / "a", reply()) as replica,
        rig(tmp_path, route(release(3, replica.address))) as gateway,
    ):
        response = await gateway.extract()
        assert response.status_code == 200
        assert f'"output":{RAW}' in response.text  # with all digits
        value = response.json()
        assert (value["model"], value["version"], value["valid"]) == ("invoices@3", 3, True)
        assert value["answered_by"] == "stable"
        assert value["confidence"] == {"number": 0.9, "total": 0.8}
        assert value["evidence"] == {"number": [[8, 12]], "total": [[20, 25]]}
        assert value["usage"] == {"prompt_tokens": 30, "output_tokens": 12}
        [row] = gateway.log.rows()
        assert row["id"] == value["request_id"] == response.headers["x-request-id"]
        assert (row["status"], row["valid"], row["release_id"], row["token_id"]) == (200, True, 3, 7)
        assert (row["text"], row["output"]) == (TEXT, RAW)


async def test_the_line_of_a_request_has_its_ids(tmp_path: Path, settings: Any, caplog: Any) -> None:
    settings.LOG_FORMAT = "json"
    caplog.handler.setFormatter(JsonLines())
    with caplog.at_level("INFO", "slmstudio.access"):
        async with answering(tmp_path) as (gateway, _):
            given = {"Authorization": "Bearer good", "X-Request-Id": "caller-4711"}
            answer = await gateway.client.post("/api/v1/projects/invoices/extract", json={}, headers=given)
    [line] = [orjson.loads(text) for text in caplog.text.splitlines() if "slmstudio.access" in text]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert (line["caller_request_id"], line["method"], line["status"]) == ("caller-4711", "POST", answer.status_code)


async def test_a_document_that_is_a_list_is_answered_bare(tmp_path: Path) -> None:
    schema = translate('{"type": "array", "items": {"type": "number"}}').compiled
    raw = '{"items":[1.50,2]}'
    async with backend(tmp_path / "a", reply(raw=raw, confidence={})) as replica:
        async with rig(tmp_path, route(ReleaseRoute(3, 3, schema, (replica.address,)))) as gateway:
            response = await gateway.extract()
            assert '"output":[1.50,2]' in response.text
            assert response.json()["unwrapped"] == "items"
            [row] = gateway.log.rows()
            assert row["output"] == raw
            assert (await chat(gateway)).json()["choices"][0]["message"]["content"] == "[1.50,2]"


async def test_without_retention_neither_text_nor_output_is_stored(tmp_path: Path) -> None:
    async with answering(tmp_path, retention_days=0) as (gateway, _):
        assert (await gateway.extract()).status_code == 200
        [row] = gateway.log.rows()
        assert (row["text"], row["output"]) == ("", "")


async def test_callers_without_access_learn_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path, route(release(1))) as gateway:
        for token, slug, status, code in (
            ("bad", "invoices", 401, "invalid_token"), ("reader", "invoices", 403, "scope"),
            ("judge", "invoices", 403, "scope"), ("other", "invoices", 404, "project"),
            ("good", "receipts", 404, "project"), ("other", "receipts", 404, "not_deployed"),
        ):  # fmt: skip
            response = await gateway.extract(token=token, slug=slug)
            assert (response.status_code, response.json()["code"]) == (status, code), (token, slug)
            assert response.headers["content-type"] == "application/problem+json"


async def test_another_replica_answers_where_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_pool, "time", SimpleNamespace(monotonic=lambda: 1_000.0))

    async def failing(text: str) -> Response:
        return Response(status_code=500)

    async with backend(tmp_path / "a", failing) as bad, backend(tmp_path / "b", reply()) as good:
        async with rig(tmp_path, route(release(1, bad.address, good.address, "unix:/none"))) as gateway:
            codes = [(await gateway.extract()).status_code for _ in range(8)]
            assert codes == [200] * 8
            assert len(good.asked) == 8
            assert len(bad.asked) == 3  # then its circuit breaker is open


async def test_requests_beyond_the_queue_are_rejected(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def slow(text: str) -> Response:
        await gate.wait()
        return JSONResponse(ANSWER)

    async with answering(tmp_path, slow, max_queue=2) as (gateway, replica):
        waiting = [asyncio.ensure_future(gateway.extract()) for _ in range(3)]
        while len(replica.asked) < 3:
            await asyncio.sleep(0.005)
        rejected = await gateway.extract()
        assert (rejected.status_code, rejected.json()["code"]) == (429, "queue_full")
        assert rejected.headers["retry-after"] == "1"
        gate.set()
        assert [response.status_code for response in await asyncio.gather(*waiting)] == [200] * 3


async def test_a_token_is_limited_per_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()  # no minute begins in between
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))

    async with answering(tmp_path, per_minute=3) as (gateway, _):
        codes = [(await gateway.extract()).status_code for _ in range(5)]
        assert codes == [200] * 3 + [429] * 2


async def test_the_canary_answers_its_share_and_the_same_documents(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as stable, backend(tmp_path / "b", reply()) as candidate:
        deployed = route(release(1, stable.address), release(2, candidate.address), stage="canary", share=0.25)
        async with rig(tmp_path, deployed) as gateway:
            texts = [f"document {number}" for number in range(60)]
            first = [(await gateway.extract(text)).json()["version"] for text in texts]
            again = [(await gateway.extract(text)).json()["version"] for text in texts]
            assert first == again
            assert 5 <= first.count(2) <= 25
            assert {row["source"] for row in gateway.log.rows()} == {"stable", "candidate"}


@pytest.mark.parametrize(("answer", "status"), [(reply(), 200), (reply(raw="no JSON"), 502)])
async def test_shadow_repeats_requests_unseen(tmp_path: Path, answer: Reply, status: int) -> None:
    """Also failed ones: otherwise only the candidate could fail alone."""
    other = '{"number":"B","total":1}'
    async with backend(tmp_path / "a", answer) as stable, backend(tmp_path / "b", reply(raw=other)) as candidate:
        deployed = route(release(1, stable.address), release(2, candidate.address), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            assert (await gateway.extract()).status_code == status
            await asyncio.gather(*gateway.gateway.responder.shadows)
            answered, shadow = gateway.log.rows()
            assert candidate.asked == [TEXT]
            assert (answered["release_id"], answered["status"]) == (1, status)
            assert (shadow["release_id"], shadow["status"], shadow["output"]) == (2, 200, other)
            assert shadow["shadow_of"] == answered["id"]


async def test_a_broken_shadow_harms_no_caller(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as stable:
        deployed = route(release(1, stable.address), release(2, "unix:/none"), stage="shadow")
        async with rig(tmp_path, deployed) as gateway:
            assert (await gateway.extract()).status_code == 200
            await asyncio.gather(*gateway.gateway.responder.shadows)
            assert [row["status"] for row in gateway.log.rows()] == [200, 503]


@pytest.mark.parametrize(("share", "absent"), [(1.0, "candidate"), (0.0, "stable")])
async def test_the_other_release_answers_for_one_whose_replicas_are_gone(
    tmp_path: Path, share: float, absent: str
) -> None:
    """Their heartbeat is still valid. The row says who answered, so it is no part of the split."""
    async with backend(tmp_path / "a", reply()) as replica:
        gone = "unix:/none"
        addresses = (replica.address, gone) if absent == "candidate" else (gone, replica.address)
        deployed = route(release(1, addresses[0]), release(2, addresses[1]), stage="canary", share=share)
        async with rig(tmp_path, deployed) as gateway:
            answered = (await gateway.extract()).json()
            expected = (1, "stable") if absent == "candidate" else (2, "candidate")
            assert (answered["version"], answered["answered_by"]) == expected
            # A caller that names a version gets no other one.
            response = await chat(gateway, model=f"invoices@{3 - expected[0]}")
            assert response.status_code == 503
            first = gateway.log.rows()[0]
            assert (first["release_id"], first["status"]) == (expected[0], 200)


async def test_until_the_candidate_answers_the_stable_release_does(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as stable:
        deployed = route(release(1, stable.address), release(2), stage="full", share=1.0)
        async with rig(tmp_path, deployed) as gateway:
            assert (await gateway.extract()).json()["version"] == 1
