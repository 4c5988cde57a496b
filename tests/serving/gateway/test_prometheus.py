"""A real Prometheus with the files of ``deploy``: scrapes of a gateway, rules, alerts, and the dashboard's queries."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from serving.gateway.app import create_app
from tests.conftest import ROOT
from tests.serving.gateway.rig import Rig, answering, reply
from tests.stack.test_serve import free_port

RULES = ROOT / "deploy/prometheus/rules.yml"
CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
#: from a scrape to its effect on a query: many intervals of a second
SECONDS = 60.0


@contextlib.asynccontextmanager
async def listening(gateway: Rig) -> AsyncIterator[int]:
    """The port of a gateway that listens."""
    port = free_port()
    app = create_app(lambda: gateway.gateway)
    app.state.gateway = gateway.gateway  # already started
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_level="error"))
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            await asyncio.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def prometheus(folder: Path, gateway: int) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus with the documented files, by the second, with alerts that fire at once."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed; bin/ensure-servers installs it")
    folder.mkdir()
    (folder / "token").write_text("operator")
    (folder / "prometheus.yml").write_text(
        CONFIGURATION.read_text().replace("15s", "1s").replace("127.0.0.1:8001", f"127.0.0.1:{gateway}")
    )
    lines = RULES.read_text().splitlines()
    (folder / "rules.yml").write_text("\n".join(line for line in lines if not line.strip().startswith("for: ")))
    port = free_port()
    process = subprocess.Popen(
        [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"],
        cwd=folder, stderr=sys.stderr,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1/") as client:
            yield client
    finally:
        process.terminate()
        process.wait(30)


async def data(client: httpx.AsyncClient, path: str, **parameters: str) -> Any:
    """What Prometheus answers; None while it starts."""
    try:
        response = await client.get(path, params=parameters)
    except httpx.TransportError:
        return None
    assert response.status_code in (200, 503), response.text
    return response.json()["data"] if response.status_code == 200 else None


async def until(gateway: Rig, condition: Callable[[], Any], what: str) -> Any:
    """What a condition returns as soon as it is true; the gateway gets requests until then."""
    deadline = asyncio.get_running_loop().time() + SECONDS
    while not (value := await condition()):
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.gather(*(gateway.extract() for _ in range(5)))
        await gateway.client.get("/metrics")  # rejected: it has no token
        await asyncio.sleep(0.2)
    return value


def expressions() -> dict[str, str]:
    """The queries of the dashboard by the titles of their panels, with values for its variables."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        panel["title"]: target["expr"].replace("$project", ".*").replace("$__rate_interval", "20s")
        for panel in panels
        for target in panel["targets"]
    }


async def rules(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The rules as Prometheus has them; none while it starts."""
    groups = (await data(client, "rules") or {"groups": []})["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def firing(client: httpx.AsyncClient) -> set[str]:
    """The names of the alerts that fire."""
    return {rule["name"] for rule in await rules(client) if rule.get("state") == "firing"}


@pytest.mark.slow
async def test_prometheus_reads_a_gateway_with_the_files_of_deploy(tmp_path: Path, settings: Any) -> None:
    settings.METRICS_TOKEN = "operator"
    broken = False

    async def answer(text: str) -> Response:
        return Response(status_code=500) if broken else await reply()(text)

    async with (
        answering(tmp_path, answer) as (gateway, model),
        listening(gateway) as port,
        prometheus(tmp_path / "prometheus", port) as client,
    ):
        gateway.gateway.metrics.note_breakers(set())

        async def evaluated() -> bool:
            return {rule["health"] for rule in await rules(client)} == {"ok"}

        await until(gateway, evaluated, "rules")
        queries = expressions()
        assert len(queries) >= 12
        for title, query in queries.items():

            async def shown(query: str = query) -> list[Any]:
                return (await data(client, "query", query=query) or {"result": []})["result"]

            await until(gateway, shown, title)
        assert await firing(client) == set()

        broken = True
        gateway.gateway.metrics.note_breakers({model.address})

        async def alerted() -> bool:
            return await firing(client) >= {"RequestsFail", "BreakerOpen"}

        await until(gateway, alerted, "alerts")
