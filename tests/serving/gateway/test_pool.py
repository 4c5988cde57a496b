"""Breakers and retries of the gateway, with replicas that fail."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from starlette.responses import Response

from serving.gateway import replica_client as client
from serving.gateway import replica_pool as pool_module
from serving.gateway.problems import GatewayProblem
from serving.gateway.replica_pool import ReplicaPool, ReplicaUnavailable
from tests.serving.gateway import wire
from tests.serving.gateway.rig import ANSWER, backend, release, reply


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that breakers see, in its only element."""
    now = [1_000.0]
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@contextlib.asynccontextmanager
async def running_pool() -> AsyncIterator[ReplicaPool]:
    pool = ReplicaPool("secret", 8, 5.0)
    try:
        yield pool
    finally:
        await pool.close()


async def codes(pool: ReplicaPool, address: str, number: int = 1) -> list[str]:
    """The results of concurrent requests: a code, or "" for an answer."""

    async def ask() -> str:
        try:
            await pool.answer(release(1, address), "a", max_queue=100)
        except GatewayProblem as problem:
            return problem.code
        return ""

    return list(await asyncio.gather(*[ask() for _ in range(number)]))


async def test_requests_that_fail_together_open_the_breaker_once(tmp_path: Path, clock: list[float]) -> None:
    asked = 0

    async def broken(text: str) -> Response:
        nonlocal asked
        asked += 1
        return Response(status_code=500)

    async with running_pool() as pool:
        async with backend(tmp_path / "a", broken) as replica:
            await codes(pool, replica.address, 20)
            assert pool._states[replica.address].opened_until == pytest.approx(clock[0] + 1)
            assert (await codes(pool, replica.address), asked) == (["no_replica"], 20)
            clock[0] += 1.1
            assert sorted(await codes(pool, replica.address, 20)) == ["engine"] + ["no_replica"] * 19
            assert asked == 21  # one request tries, the others do not wait for it


async def test_a_replica_that_answers_again_closes_the_breaker(tmp_path: Path, clock: list[float]) -> None:
    async with running_pool() as pool:
        address = f"unix:{tmp_path}/a"
        await codes(pool, address, 5)
        clock[0] += 1.1
        async with backend(tmp_path / "a", reply()):
            assert await codes(pool, address) == [""]
            assert await codes(pool, address, 5) == [""] * 5


async def test_a_replica_that_was_started_again_is_asked_at_once(tmp_path: Path, clock: list[float]) -> None:
    """Its supervisor takes it out of the routes until it answers."""

    async with running_pool() as pool:
        address = f"unix:{tmp_path}/a"
        await codes(pool, address, 5)
        pool.forget_others(set())
        async with backend(tmp_path / "a", reply()):
            assert await codes(pool, address) == [""]


async def test_a_replica_that_was_forgotten_is_not_asked(tmp_path: Path) -> None:
    gone, there = f"unix:{tmp_path}/gone.sock", tmp_path / "there.sock"

    async with running_pool() as pool:
        async with backend(there, reply()) as replica:
            # The request has its list of replicas; then the route of one of them ends.
            pool._state(gone).client.close()
            answer = await pool.answer(release(1, gone, replica.address), "a", max_queue=8)
            assert (answer.finish_reason, len(replica.asked)) == ("stop", 1)


async def test_a_host_that_cannot_be_reached_is_no_time_out_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.05)

    async with running_pool() as pool:
        with pytest.raises(ReplicaUnavailable):
            await pool._ask(pool._state("http://192.0.2.1:1"), "a")


async def test_connections_are_used_again_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    """A replica may close an idle connection in the moment in which it is used: it has not read the request then."""
    connections: list[int] = []
    closes = [False]

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while True:
            await wire.request_of(reader)
            if closes[0]:
                closes[0] = False
                return
            connections[-1] += 1
            writer.write(wire.response(orjson.dumps(ANSWER)))
            await writer.drain()

    async with running_pool() as pool:
        async with wire.raw_backend(tmp_path / "a", speak) as address:
            assert [await codes(pool, address) for _ in range(3)] == [[""]] * 3
            assert connections == [3]
            closes[0] = True
            assert await codes(pool, address) == [""]
            assert connections == [3, 1]
            assert await codes(pool, address, 5) == [""] * 5
            assert len(connections) == 6
