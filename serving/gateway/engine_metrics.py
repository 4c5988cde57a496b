"""Metrics of the engines themselves, llama.cpp's and vLLM's, asked of the replicas when the gateway is scraped."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from django.db import DatabaseError
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serving.gateway.database import in_database
from serving.models import Replica
from serving.replicas.addresses import HTTP, UNIX

logger = logging.getLogger(__name__)
#: seconds for all replicas together: what has not answered by then is left out
SECONDS = 0.5
MAX_BYTES = 4 * 1024 * 1024
#: what an engine says about itself; vLLM also reports its Python process
_PREFIXES = ("llamacpp:", "vllm:")


@dataclass(frozen=True, slots=True)
class Source:
    """A replica that is asked, and the labels of its metrics."""

    address: str
    labels: tuple[tuple[str, str], ...]


async def scrape(secret: str, project: str | None = None) -> list[Metric]:
    """The engines' metrics of the ready replicas of all projects, or of one. Never raises."""
    try:
        sources = await in_database(lambda: _sources(project), seconds=SECONDS)
        asking = [asyncio.ensure_future(_ask(source, secret)) for source in sources]
        if not asking:
            return []
        done, late = await asyncio.wait(asking, timeout=SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return _merged(task.result() for task in done)
    except DatabaseError:
        return []
    except Exception:  # the gateway's own metrics matter more
        logger.exception("metrics of engines could not be read")
        return []


def _sources(project: str | None) -> list[Source]:
    rows = Replica.objects.ready().exclude(address="")
    if project is not None:
        rows = rows.filter(release__project__slug=project)
    names = ("address", "release__project__slug", "release__number", "host", "slot", "identity")
    return [
        Source(
            address,
            (("project", slug), ("version", str(number)), ("replica", f"{host}/{slot}"),
             ("engine", str(identity.get("engine", "")))),
        )
        for address, slug, number, host, slot, identity in rows.order_by("pk").values_list(*names)
    ]  # fmt: skip


async def _ask(source: Source, secret: str) -> list[Metric]:
    """[] where a replica does not answer, as one on another host that listens on a socket there."""
    try:
        if source.address.startswith(UNIX):
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(source.address.removeprefix(UNIX))
            url = f"{HTTP}replica"
        else:
            connector, url = aiohttp.TCPConnector(), source.address
        headers = {"Authorization": f"Bearer {secret}"}
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as client,
            client.get(f"{url}/metrics") as response,
        ):
            if response.status != 200:
                return []
            body = await response.content.read(MAX_BYTES)
        return _labeled(body.decode(), dict(source.labels))
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        logger.debug("no metrics of %s: %s", source.address, error)
        return []


def _labeled(text: str, labels: dict[str, str]) -> list[Metric]:
    """The engine's metrics with our labels; its own of the same name are called ``exported_...``. Raises ValueError."""
    copies = []
    for metric in text_string_to_metric_families(text):
        if not metric.name.startswith(_PREFIXES):
            continue
        copy = Metric(metric.name, metric.documentation, metric.type)
        for sample in metric.samples:
            own = {f"exported_{name}" if name in labels else name: value for name, value in sample.labels.items()}
            copy.samples.append(Sample(sample.name, {**labels, **own}, sample.value))
        copies.append(copy)
    return copies


def _merged(parts: Iterable[list[Metric]]) -> list[Metric]:
    """One family for each name, with the samples of all replicas."""
    families: dict[str, Metric] = {}
    for metric in (metric for part in parts for metric in part):
        families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type)).samples.extend(
            metric.samples
        )
    return list(families.values())
