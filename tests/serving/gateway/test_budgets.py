"""Budgets and limits of tokens and projects, over several gateways, restarts, and outages of the queue server."""

import asyncio
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.conf import settings

from serving.gateway import limits as rate_limits
from serving.gateway.limits import RateLimiter, Subject
from serving.gateway.problems import GatewayProblem
from serving.models import Budget
from tests.serving.gateway.rig import answering, backend, release, reply, rig, route

AWAY = "redis://127.0.0.1:1"


def number() -> int:
    """An id that no other test uses: the counters are in the queue server."""
    return uuid.uuid4().int % 10**12


async def nothing(subject: Subject) -> tuple[int, int]:
    return 0, 0


def limiter(url: str = AWAY, used: Any = nothing) -> RateLimiter:
    return RateLimiter(url, per_minute=1_000, used=used)


async def spend(limits: RateLimiter, subject: Subject, tokens: int = 0, *, answered: bool = True) -> str:
    """The code of one request; "" where it was within its budgets."""
    try:
        reserved = await limits.reserve(subject)
    except GatewayProblem as problem:
        return problem.code
    reserved.finish(answered=answered, tokens=tokens)
    return ""


async def test_a_budget_counts_answered_requests_and_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()  # no minute begins in between
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    limits = limiter()
    requests = Subject("token", number(), Budget(requests_per_month=2))
    codes = [await spend(limits, requests, answered=answered) for answered in (True, False, False, True, True)]
    assert codes == ["", "", "", "", "budget"]
    tokens = Subject("token", number(), Budget(tokens_per_month=100))
    assert [await spend(limits, tokens, 60, answered=False) for _ in range(3)] == ["", "", "budget"]
    minute = Subject("token", number(), Budget(tokens_per_minute=50))
    assert [await spend(limits, minute, 50) for _ in range(2)] == ["", "rate_limit"]


async def test_concurrent_requests_do_not_exceed_a_budget() -> None:
    limits, subject = limiter(), Subject("token", number(), Budget(requests_per_month=3))
    reserved = await asyncio.gather(*[limits.reserve(subject) for _ in range(5)], return_exceptions=True)
    assert [isinstance(result, GatewayProblem) for result in reserved] == [False] * 3 + [True] * 2


async def test_gateways_count_together_and_a_lost_counter_is_restored(queues: None) -> None:
    subject = Subject("project", number(), Budget(requests_per_month=5))
    first, second = limiter(settings.REDIS_URL), limiter(settings.REDIS_URL)
    assert [await spend(first, subject) for _ in range(3)] == ["", "", ""]
    await first.counters.sync()
    assert [await spend(second, subject) for _ in range(3)] == ["", "", "budget"]
    await second.counters.sync()
    await first.counters.sync()
    assert await spend(first, subject) == "budget"
    with redis.Redis.from_url(settings.REDIS_URL) as server:
        server.delete(subject.key(datetime.now(UTC).strftime("%Y-%m"), "requests"))
    await first.counters.sync()
    third = limiter(settings.REDIS_URL)
    assert await spend(third, subject) == "budget"
    for limits in (first, second, third):
        await limits.counters.close()


@pytest.mark.parametrize("url", ["queue", AWAY])
async def test_a_new_gateway_goes_on_with_what_the_database_has(queues: None, url: str) -> None:
    async def used(subject: Subject) -> tuple[int, int]:
        return 9, 900

    limits = limiter(settings.REDIS_URL if url == "queue" else AWAY, used)
    subject = Subject("token", number(), Budget(requests_per_month=10, tokens_per_month=1_000))
    assert [await spend(limits, subject, 10) for _ in range(2)] == ["", "budget"]
    await limits.counters.close()


async def test_a_spent_budget_is_429_with_its_end(tmp_path: Path) -> None:
    where = route(release(1), limits=Budget(requests_per_month=1))
    async with backend(tmp_path / "a", reply()) as replica:
        where = route(release(1, replica.address), limits=Budget(requests_per_month=1))
        async with rig(tmp_path, where, used=nothing) as gateway:
            assert (await gateway.extract()).status_code == 200
            response = await gateway.extract()
            value = response.json()
            assert (response.status_code, value["code"]) == (429, "budget")
            assert (value["of"], value["unit"], value["limit"]) == ("project", "requests", 1)
            resets_at = datetime.fromisoformat(value["resets_at"])
            now = datetime.now(UTC)
            assert (resets_at.day, resets_at.hour) == (1, 0)
            assert abs(int(response.headers["retry-after"]) - (resets_at - now).total_seconds()) < 5
            chat = await gateway.client.post(
                "/v1/chat/completions",
                json={"model": "invoices", "messages": [{"role": "user", "content": "a"}]},
                headers={"Authorization": "Bearer good"},
            )
            assert (chat.status_code, chat.json()["error"]["code"]) == (429, "budget")
            assert len(replica.asked) == 1
            assert len(gateway.log.rows()) == 1


async def test_failed_outputs_cost_tokens_but_no_request(tmp_path: Path) -> None:
    limits = Budget(requests_per_month=1, tokens_per_month=80)
    async with answering(tmp_path, reply(raw="no JSON"), limits=limits, used=nothing) as (gateway, _):
        got = [((await gateway.extract()).json()["code"]) for _ in range(3)]
        assert got == ["invalid_output", "invalid_output", "budget"]  # 42 tokens each
