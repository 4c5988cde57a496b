"""``GET /metrics`` of the gateway."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from aiohttp import web
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from serving.gateway import engine_metrics, replica_pool
from serving.gateway.engine_metrics import Source
from serving.models import Replica
from slmstudio.stack.processes import command
from tests.conftest import ROOT
from tests.evaluation.factories import World
from tests.serving.gateway.rig import Rig, answering, backend, release, reply, rig, route
from tests.serving.review.rows import deployed
from tests.stack.test_serve import free_port

SAMPLE = tuple[str, frozenset[tuple[str, str]]]


def samples(text: str) -> dict[SAMPLE, float]:
    """Every sample by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(measured: dict[SAMPLE, float], name: str, **labels: str) -> float:
    return measured[name, frozenset(labels.items())]


async def metrics(gateway: Rig, token: str) -> Any:
    return await gateway.client.get("/metrics", headers={"Authorization": f"Bearer {token}"} if token else {})


@pytest.fixture(autouse=True)
def operator(settings: Any) -> None:
    settings.METRICS_TOKEN = "operator"


async def test_requests_are_counted_by_release_status_and_code(tmp_path: Path) -> None:
    stable = {"project": "invoices", "version": "3", "source": "stable"}
    async with backend(tmp_path / "a", reply()) as good, backend(tmp_path / "b", reply(raw="{}")) as bad:
        shadow = route(release(3, good.address), release(4, bad.address), stage="shadow")
        async with rig(tmp_path, shadow) as gateway:
            for _ in range(3):
                assert (await gateway.extract()).status_code == 200
            assert (await gateway.extract(5)).status_code == 422
            while gateway.gateway.responder.shadows:
                await asyncio.gather(*gateway.gateway.responder.shadows)
            got = samples((await metrics(gateway, "operator")).text)
    assert value(got, "slm_requests_total", **stable, status="200", code="") == 3
    assert value(got, "slm_outputs_total", **stable, valid="true") == 3
    candidate = {"project": "invoices", "version": "4", "source": "shadow"}
    assert value(got, "slm_requests_total", **candidate, status="502", code="invalid_output") == 3
    assert value(got, "slm_outputs_total", **candidate, valid="false") == 3
    assert value(got, "slm_tokens_total", **stable, kind="prompt") == 90
    assert value(got, "slm_tokens_total", **stable, kind="output") == 36
    for part in ("request", "queue", "model", "gateway"):
        assert value(got, f"slm_{part}_seconds_count", **stable) == 3
    assert value(got, "slm_queue_seconds_sum", **stable) == pytest.approx(0.003)
    assert value(got, "slm_requests_in_flight", project="invoices") == 0
    assert value(got, "slm_rejected_total", status="422", code="field") == 1


async def test_an_open_request_is_in_flight(tmp_path: Path) -> None:
    answered = asyncio.Event()

    async def late(text: str) -> Any:
        await answered.wait()
        return await reply()(text)

    async with answering(tmp_path, late, number=3) as (gateway, replica):
        asking = asyncio.ensure_future(gateway.extract())
        while not replica.asked:
            await asyncio.sleep(0.005)
        got = samples((await metrics(gateway, "operator")).text)
        assert value(got, "slm_requests_in_flight", project="invoices") == 1
        answered.set()
        await asking


async def test_replicas_breakers_and_the_backlog_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_pool, "time", SimpleNamespace(monotonic=lambda: 1_000.0))

    async with rig(tmp_path, route(release(3, "unix:/none", "unix:/other"))) as gateway:
        for _ in range(4):  # nothing listens there
            assert (await gateway.extract()).status_code == 503
        gateway.gateway.metrics.note_breakers(gateway.gateway.pool.open_addresses)
        got = samples((await metrics(gateway, "operator")).text)
        version = {"project": "invoices", "version": "3"}
        assert value(got, "slm_replicas", **version, state="ready") == 2
        assert value(got, "slm_breakers_open", **version) == 2
        size = sum(path.stat().st_size for path in gateway.log.folder.glob("*.jsonl"))
        assert value(got, "slm_log_backlog_bytes") == size > 0
        assert 0 <= value(got, "slm_log_backlog_seconds") < 60
        own = samples((await metrics(gateway, "reader")).text)
        assert ("slm_log_backlog_bytes", frozenset()) not in own
        assert value(own, "slm_replicas", **version, state="ready") == 2


async def test_a_line_that_cannot_be_written_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(tmp_path) as (gateway, _):

        def full(line: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(gateway.log, "_append", full)
        assert (await gateway.extract()).status_code == 503
        got = samples((await metrics(gateway, "operator")).text)
        assert value(got, "slm_log_failures_total") == 1
        assert value(got, "slm_rejected_total", status="503", code="log") == 1
        assert not [name for name, _ in got if name == "slm_requests_total"]


_FULL = """
import contextlib, resource
import django
django.setup()
from serving.gateway.metrics import Metrics
from serving.gateway.routes import RouteTable
from serving.gateway.request_log.writer import DEFAULTS

metrics = Metrics(RouteTable())
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
row = {**DEFAULTS, "project_id": 1, "status": 200, "valid": True, "total_ms": 1.0}
with metrics.in_flight("invoices"):
    metrics.record(row)
    metrics.rejected(503, "log")
    metrics.log_failed()
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
with metrics.in_flight("invoices"):
    metrics.record(row)
    print(metrics.text(None).decode())
"""


def test_a_worker_without_room_for_its_metrics_answers(tmp_path: Path) -> None:
    """The file of each kind of metric is created with the first value, perhaps while the disk is full."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _FULL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    measured = samples(done.stdout)
    assert value(measured, "slm_requests_in_flight", project="invoices") == 1
    assert value(measured, "slm_request_seconds_count", project="", version="", source="") == 1


LLAMA = """# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total 42
# TYPE process_open_fds gauge
process_open_fds 7
"""
VLLM = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="invoices"} 2
"""


@contextlib.asynccontextmanager
async def replica_with(path: Path, body: Callable[[], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The address of a replica that reports this about its engine."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret"
        return await body()

    app = web.Application()
    app.add_routes([web.get("/metrics", handle)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    yield f"unix:{path}"
    await runner.cleanup()


async def test_engines_report_with_our_labels_and_hold_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of five replicas two report; the others are late, gone, and not readable."""

    async def says(text: str) -> web.Response:
        return web.Response(text=text)

    async def late() -> web.Response:
        await asyncio.sleep(60)
        return web.Response(text=LLAMA)

    async with (
        replica_with(tmp_path / "a", lambda: says(LLAMA)) as first,
        replica_with(tmp_path / "b", lambda: says(VLLM)) as second,
        replica_with(tmp_path / "c", late) as slow,
        replica_with(tmp_path / "d", lambda: says("llamacpp:broken{ 1")) as broken,
    ):
        addresses = [first, second, slow, broken, "unix:/none"]
        sources = [
            Source(address, (("project", "invoices"), ("version", "3"), ("replica", f"a/{n}"), ("engine", "e 1")))
            for n, address in enumerate(addresses)
        ]
        monkeypatch.setattr(engine_metrics, "_sources", lambda project: sources)
        monkeypatch.setattr(engine_metrics, "SECONDS", 1.0)
        async with rig(tmp_path, route(release(3))) as gateway:
            response = await metrics(gateway, "operator")
    assert response.status_code == 200
    got = samples(response.text)
    ours = {"project": "invoices", "version": "3", "engine": "e 1"}
    assert value(got, "llamacpp:prompt_tokens_total", **ours, replica="a/0") == 42
    own = {"exported_engine": "0", "model_name": "invoices"}
    assert value(got, "vllm:num_requests_running", **ours, **own, replica="a/1") == 2
    assert len([name for name, _ in got if name.startswith(("llamacpp", "vllm", "process"))]) == 2


def test_only_ready_replicas_of_a_project_are_asked(world: World) -> None:
    stable = deployed(world).stable
    assert stable is not None
    for slot, state in enumerate(("ready", "starting")):
        Replica.objects.create(
            release=stable, host="a", slot=slot, state=state, address=f"unix:/{slot}", heartbeat_at=timezone.now(),
            identity={"engine": "llama.cpp 1"},
        )  # fmt: skip
    [source] = engine_metrics._sources("invoices")
    labels = {"project": "invoices", "version": str(stable.number), "replica": "a/0", "engine": "llama.cpp 1"}
    assert (source.address, dict(source.labels)) == ("unix:/0", labels)
    assert engine_metrics._sources("receipts") == []


async def test_metrics_need_a_token(tmp_path: Path, settings: Any) -> None:
    async with rig(tmp_path, route(release(1))) as gateway:
        for token, status in (
            ("", 401), ("wrong", 401), ("other", 403), ("good", 200), ("reader", 200), ("operator", 200),
        ):  # fmt: skip
            assert (await metrics(gateway, token)).status_code == status, token
        settings.METRICS_TOKEN = ""  # without an operator's token none is accepted
        for header in ("Bearer ", "Bearer", ""):
            assert (await gateway.client.get("/metrics", headers={"Authorization": header})).status_code == 401


async def test_a_project_reads_only_its_own_metrics(tmp_path: Path) -> None:
    async with backend(tmp_path / "a", reply()) as replica:
        other = replace(route(release(9, replica.address)), slug="receipts", project_id=2)
        async with rig(tmp_path, route(release(1, replica.address)), other) as gateway:
            assert (await gateway.extract()).status_code == 200
            assert (await gateway.extract(token="other", slug="receipts")).status_code == 200
            everything = samples((await metrics(gateway, "operator")).text)
            assert {dict(labels).get("project") for _, labels in everything} > {"invoices", "receipts"}
            own = samples((await metrics(gateway, "reader")).text)
            assert {dict(labels)["project"] for _, labels in own} == {"invoices"}


@pytest.fixture
def served(transactional_db: None, tmp_path: Path) -> Any:
    """The port of a real gateway with two workers."""
    from tests.conftest import worker_environment

    port = free_port()
    environment = {**worker_environment(), "METRICS_TOKEN": "operator", "SLM_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "serving.gateway", "--bind", f"127.0.0.1:{port}", "--workers", "2"]
    gateway = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield port
    finally:
        gateway.terminate()
        gateway.wait(30)


def rejected(port: int) -> float:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": "Bearer operator"})
    with urllib.request.urlopen(request, timeout=10) as response:
        got = samples(response.read().decode())
    return got.get(("slm_rejected_total", frozenset({("status", "401"), ("code", "no_token")})), 0.0)


@pytest.mark.slow
def test_every_worker_answers_for_all(served: int, wait_for: Callable[..., None]) -> None:
    [gateway] = [child for child in psutil.Process().children() if str(served) in " ".join(command(child))]

    def has_forks() -> bool:
        return sum(command(child) == command(gateway) for child in gateway.children()) == 3

    wait_for(has_forks)  # two workers and the log store, without loading the application again
    for _ in range(20):  # each on a new connection, so that both workers get some
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{served}/metrics", timeout=10)
    assert [rejected(served) for _ in range(6)] == [20.0] * 6
