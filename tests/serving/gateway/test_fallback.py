"""Small first, large as fallback: who answers, what the caller gets, and what is logged."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.inference.clients.openai_options import EndpointConfig
from serving.confidence.calibration import ConfidenceCalibration
from serving.confidence.policy import Policy
from serving.gateway.external_models import ExternalRoute
from serving.gateway.limits import Subject
from serving.gateway.routes import ReleaseRoute
from serving.models import Budget
from slmstudio.contract.schema.compiled import compile_schema
from tests.evaluation import fake_openai
from tests.serving.gateway.rig import RAW, SCHEMA, TEXT, Rig, backend, release, reply, rig, route

LARGE = '{"number":"A-17","total":12.5}'
#: an overconfident model: 0.9 becomes 0.75
HALF = ConfidenceCalibration({"": ([0.55, 0.8, 0.9], [0.5251, 0.6667, 0.75])})


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    """The gateway may call this machine."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]


def larger(url: str, schema: Any = SCHEMA, *, price: float | None = 2.0) -> ExternalRoute:
    config = EndpointConfig(url=url, model="big", structured="free")
    return ExternalRoute(4, "Big", config, "Extract.", schema, price_in=price, price_out=price)


def small(address: str, url: str, *, calibration: ConfidenceCalibration | None = HALF) -> ReleaseRoute:
    return replace(release(1, address), confidence=calibration, fallback=larger(url) if url else None)


@contextlib.asynccontextmanager
async def both_models(
    tmp_path: Path, policy: Policy, answer: Any = None, *, large: Any = None, **more: Any
) -> AsyncIterator[tuple[Rig, fake_openai.Fake, Any]]:
    """A gateway between a small model, which replies ``answer``, and a large one."""
    with fake_openai.running() as fake:
        fake.replies = [large or fake_openai.says(LARGE)]
        async with backend(tmp_path / "a", answer or reply()) as model:
            deployed = route(small(model.address, fake.url, **more), policy=policy)
            async with rig(tmp_path, deployed) as gateway:
                yield gateway, fake, model


async def test_below_the_minimum_the_large_model_answers(tmp_path: Path) -> None:
    async with both_models(tmp_path, Policy(has_fallback=True, min_confidence=0.7)) as (gateway, fake, model):
        response = await gateway.extract()
        body = response.json()
        assert f'"output":{LARGE}' in response.text
        assert (body["answered_by"], body["needs_review"], body["calibrated"]) == ("fallback", False, False)
        cost = 2.0 * sum(fake_tokens(gateway)) / 1e6
        usage = dict(zip(("prompt_tokens", "output_tokens"), fake_tokens(gateway), strict=True))
        asked = {"model": "Big", "reason": "confidence", "error": None, "cost": cost, "usage": usage}
        assert body["fallback"] == asked
        [row] = gateway.log.rows()
        assert (row["source"], row["status"], row["valid"], row["release_id"]) == ("fallback", 200, True, 1)
        assert (row["output"], row["first_output"]) == (LARGE, RAW)
        assert (row["fallback_reason"], row["fallback_code"], row["fallback_endpoint_id"]) == ("confidence", "", 4)
        assert row["fallback_ms"] > 0
        assert row["model_ms"] == 2.0
        assert row["total_ms"] >= row["fallback_ms"]
        assert row["cost"] == cost
        assert len(fake.asked) == len(model.asked) == 1


def fake_tokens(gateway: Rig) -> tuple[int, int]:
    [row] = gateway.log.rows()
    assert row["fallback_prompt_tokens"] > 0
    return row["fallback_prompt_tokens"], row["fallback_output_tokens"]


@pytest.mark.parametrize("large", [fake_openai.says(LARGE), fake_openai.says("I am sorry")])
async def test_tokens_of_both_models_count_in_budgets(tmp_path: Path, large: Any) -> None:
    """Also those of an answer of the larger model that is no valid output."""

    async def nothing(subject: Subject) -> tuple[int, int]:
        return 0, 0

    with fake_openai.running() as fake:
        fake.replies = [large]
        async with backend(tmp_path / "a", reply()) as model:
            # One more than the small model takes for two documents.
            limits = Budget(tokens_per_month=85)
            policy = Policy(has_fallback=True, min_confidence=0.7)
            deployed = route(small(model.address, fake.url), policy=policy, limits=limits)
            async with rig(tmp_path, deployed, used=nothing) as gateway:
                assert (await gateway.extract()).status_code == 200
                assert sum(fake_tokens(gateway)) > 85 - 42
                refused = (await gateway.extract()).json()
                assert (refused["code"], refused["unit"]) == ("budget", "tokens")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(raw='{"number": 5}'), "invalid"),
        (reply(raw="", finish_reason="error", code="too_long", error="Too long."), "invalid"),
        (reply(raw="", finish_reason="error", code="engine", error="Broken."), "unavailable"),
    ],
)
async def test_the_large_model_answers_where_the_small_one_cannot(tmp_path: Path, answer: Any, reason: str) -> None:
    async with both_models(tmp_path, Policy(has_fallback=True), answer) as (gateway, _, _):
        body = (await gateway.extract()).json()
        assert (body["answered_by"], body["fallback"]["reason"]) == ("fallback", reason)
        [row] = gateway.log.rows()
        assert (row["status"], row["code"], row["fallback_reason"]) == (200, "", reason)


async def test_without_a_replica_the_large_model_answers(tmp_path: Path) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(LARGE)]
        deployed = replace(release(1), fallback=larger(fake.url))
        async with rig(tmp_path, route(deployed, policy=Policy(has_fallback=True))) as gateway:
            assert (await gateway.extract()).json()["answered_by"] == "fallback"
        async with rig(tmp_path, route(deployed, policy=Policy(has_fallback=True, on_unavailable=False))) as gateway:
            assert (await gateway.extract()).status_code == 503


async def test_a_fallback_that_fails_leaves_the_small_models_answer_for_review(tmp_path: Path) -> None:
    async with both_models(
        tmp_path, Policy(has_fallback=True, min_confidence=0.7), large=fake_openai.says("I am sorry")
    ) as (gateway, _, _):
        response = await gateway.extract()
        body = response.json()
        assert f'"output":{RAW}' in response.text
        assert (body["answered_by"], body["needs_review"]) == ("stable", True)
        assert body["review"] == {"reason": "fallback_failed", "fields": ["total"]}
        assert body["fallback"]["error"] == "invalid_output"
        [row] = gateway.log.rows()
        assert (row["needs_review"], row["review_reason"], row["fallback_code"]) == (
            True, "fallback_failed", "invalid_output",
        )  # fmt: skip
        assert (row["output"], row["first_output"], row["source"]) == (RAW, "", "stable")


async def test_where_both_fail_the_error_is_the_small_models(tmp_path: Path) -> None:
    async with both_models(
        tmp_path, Policy(has_fallback=True), reply(raw="{}"), large=fake_openai.error(401, "wrong key")
    ) as (gateway, _, _):
        response = await gateway.extract()
        assert (response.status_code, response.json()["code"]) == (502, "invalid_output")
        [row] = gateway.log.rows()
        assert (row["status"], row["code"], row["fallback_code"]) == (502, "invalid_output", "engine")
        assert (row["needs_review"], row["automatic"]) == (False, False)


async def test_retries_of_replicas_and_fallbacks_are_one_budget(tmp_path: Path) -> None:
    async with both_models(
        tmp_path, Policy(has_fallback=True, min_confidence=0.7), large=fake_openai.error(500, "overloaded")
    ) as (gateway, fake, _):
        gateway.gateway.pool.retries.left = 1.0
        for expected in (2, 3, 4):  # the first request takes the last retry
            await gateway.extract()
            assert len(fake.asked) == expected
        assert gateway.gateway.pool.retries.left < 1
        gateway.gateway.pool.retries.left = 9.0
        await gateway.extract()
        assert len(fake.asked) == 6  # one request never takes more than one


async def test_a_slow_fallback_ends_with_the_request(tmp_path: Path) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.hangs]
        async with backend(tmp_path / "a", reply()) as model:
            policy = Policy(has_fallback=True, min_confidence=0.7)
            async with rig(tmp_path, route(small(model.address, fake.url), policy=policy), timeout=1.5) as gateway:
                body = (await gateway.extract()).json()
                assert (body["answered_by"], body["needs_review"]) == ("stable", True)
                assert body["fallback"]["error"] in ("timeout", "engine")


async def test_an_invariant_of_the_contract(tmp_path: Path) -> None:
    schema = compile_schema({
        "type": "object", "properties": {"net": {"type": "number"}, "gross": {"type": "number"}},
        "required": ["net", "gross"], "additionalProperties": False, "x-slm": {"invariants": ["gross >= net"]},
    })  # fmt: skip
    wrong, right = '{"net":5,"gross":4}', '{"net":4,"gross":5}'

    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says(right), fake_openai.says(wrong)]
        async with backend(tmp_path / "a", reply(raw=wrong, confidence={})) as model:
            deployed = replace(ReleaseRoute(1, 1, schema, (model.address,)), fallback=larger(fake.url, schema))
            async with rig(tmp_path, route(deployed, policy=Policy(has_fallback=True))) as gateway:
                body = (await gateway.extract()).json()
                assert (body["answered_by"], body["fallback"]["reason"]) == ("fallback", "invariant")
                assert (await gateway.extract()).json()["needs_review"] is True  # the large model violates it, too
            async with rig(tmp_path, route(replace(deployed, fallback=None), policy=Policy())) as gateway:
                body = (await gateway.extract()).json()
                assert (body["needs_review"], body["review"]["reason"]) == (True, "invariant")


# -- the error budget -------------------------------------------------------------------------------------------------


BUDGET = Policy(has_budget=True, min_confidence=0.6)


@pytest.mark.parametrize(("policy", "more", "reason"), [
    (BUDGET, {}, ""),
    (replace(BUDGET, has_fallback=True), {}, ""),  # the small model is sure: the other one is not asked
    (replace(BUDGET, min_confidence=0.7), {}, "confidence"),
    (BUDGET, {"calibration": None}, "confidence"),
    (replace(BUDGET, is_broken=True), {}, "broken"),
])  # fmt: skip
async def test_what_is_not_automatic_goes_to_people(
    tmp_path: Path, policy: Policy, more: dict[str, Any], reason: str
) -> None:
    async with both_models(tmp_path, policy, **more) as (gateway, fake, _):
        body = (await gateway.extract()).json()
        assert body["needs_review"] == bool(reason)
        assert not reason or body["review"]["reason"] == reason
        [row] = gateway.log.rows()
        assert row["automatic"] == (not reason)
        assert fake.asked == []


async def test_or_to_the_large_model(tmp_path: Path) -> None:
    async with both_models(tmp_path, replace(BUDGET, is_broken=True, has_fallback=True)) as (gateway, _, _):
        body = (await gateway.extract()).json()
        assert (body["answered_by"], body["fallback"]["reason"]) == ("fallback", "broken")
        [row] = gateway.log.rows()
        assert (row["needs_review"], row["automatic"]) == (False, True)


# -- routing ----------------------------------------------------------------------------------------------------------

DECISION = compile_schema({
    "type": "object", "properties": {"action": {"enum": ["answer", "retrieve", "tool", "escalate"]}},
    "required": ["action"], "additionalProperties": False,
})  # fmt: skip


async def test_a_routing_decision_has_a_confidence_on_both_interfaces(tmp_path: Path) -> None:
    with fake_openai.running() as fake:
        fake.replies = [fake_openai.says('{"action":"escalate"}')]
        unsure = reply(raw='{"action":"tool"}', confidence={"action": [0.55, 0.6]})
        async with backend(tmp_path / "a", unsure) as model:
            deployed = replace(
                ReleaseRoute(1, 1, DECISION, (model.address,)), confidence=HALF,
                fallback=larger(fake.url, DECISION),
            )  # fmt: skip
            policy = Policy(has_fallback=True, min_confidence=0.7)
            async with rig(tmp_path, route(deployed, policy=policy)) as gateway:
                body = (await gateway.extract("Where is my parcel?")).json()
                assert (body["output"], body["answered_by"]) == ({"action": "escalate"}, "fallback")
            async with rig(tmp_path, route(deployed)) as gateway:
                body = (await gateway.extract("Where is my parcel?")).json()
                assert (body["output"], body["confidence"]) == ({"action": "tool"}, {"action": 0.5251})
                asked = {"model": "invoices", "messages": [{"role": "user", "content": TEXT}]}
                head = {"Authorization": "Bearer good"}
                plain = await gateway.client.post("/v1/chat/completions", json=asked, headers=head)
                choice = plain.json()["choices"][0]["message"]["content"]
                assert json.loads(choice) == {"action": "tool"}
                assert plain.json()["slm_studio"]["confidence"] == {"action": 0.5251}
                as_text: dict[str, Any] = {**asked, "response_format": {"type": "text"}}
                text = await gateway.client.post("/v1/chat/completions", json=as_text, headers=head)
                assert text.json()["choices"][0]["message"]["content"] == "tool"
                in_parts = as_text | {"stream": True}
                stream = await gateway.client.post("/v1/chat/completions", json=in_parts, headers=head)
                events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: {")]
                streamed = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
                assert streamed == "tool"
                assert events[-1]["slm_studio"]["calibrated"] is True


async def test_a_shadow_is_calibrated_too(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as replica, backend(tmp_path / "b", reply()) as other:
        candidate = replace(release(2, other.address), confidence=HALF)
        async with rig(tmp_path, route(release(1, replica.address), candidate, stage="shadow")) as gateway:
            await gateway.extract()
            await asyncio.gather(*gateway.gateway.responder.shadows)
            answered, shadow = gateway.log.rows()
            assert (answered["calibrated"], answered["lowest"]) == ({}, 0.8)
            assert (shadow["calibrated"], shadow["lowest"]) == ({"number": 0.75, "total": 0.6667}, 0.6667)
