"""``GET /metrics``: counters and histograms of the gateway in Prometheus's text format.

``python -m serving.gateway`` with several workers gives them a shared folder, so that any worker
answers for all. Projects, versions and codes are labels; nothing that a caller writes is. The first value of a kind
creates a file there: where that fails, the value is not counted and the request is answered all the same.
"""

import collections
import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from serving.gateway.request_log.writer import Row
from serving.gateway.routes import ReplicaCounts, RouteTable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: where prometheus-client looks for the folder that workers share
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_GATEWAY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_RELEASE = ("project", "version", "source")

disable_created_metrics()


class Metrics:
    """The metrics of one process. ``table``: for the names of projects and versions."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "slm_requests", "Requests with an entry in the log, by status and error code.",
            (*_RELEASE, "status", "code"), registry=registry,
        )  # fmt: skip
        self._outputs = Counter(
            "slm_outputs", "Outputs of the model, by whether they match the schema.", (*_RELEASE, "valid"),
            registry=registry,
        )  # fmt: skip
        self._tokens = Counter("slm_tokens", "Tokens of prompts and outputs.", (*_RELEASE, "kind"), registry=registry)
        self._latency = {
            part: Histogram(
                f"slm_{part}_seconds", f"{text} of requests that were answered.", _RELEASE, registry=registry,
                buckets=_GATEWAY_SECONDS if part == "gateway" else _SECONDS,
            )
            for part, text in (
                ("request", "Latency"), ("queue", "Time in the queue of a replica"), ("model", "Time of the model"),
                ("gateway", "Time in the gateway"),
            )
        }  # fmt: skip
        self._in_flight = Gauge(
            "slm_requests_in_flight", "Requests that are being answered.", ("project",), registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self._rejected = Counter(
            "slm_rejected", "Requests that were rejected without an entry in the log.", ("status", "code"),
            registry=registry,
        )  # fmt: skip
        #: project -> requests of callers that this process is answering
        self.live: collections.Counter[str] = collections.Counter()
        self._open_breakers = Gauge(
            "slm_breakers_open", "Replicas that a gateway does not ask because they failed.", ("project", "version"),
            registry=registry, multiprocess_mode="livemax",
        )  # fmt: skip
        self._log_failures = Counter(
            "slm_log_failures", "Entries of the log that could not be written.", registry=registry
        )

    def record(self, row: Row) -> None:
        """Counts a request that is in the log."""
        with contextlib.suppress(OSError):
            self._record(row)

    def _record(self, row: Row) -> None:
        release = self._labels(row)
        self._requests.labels(*release, str(row["status"]), row["code"]).inc()
        if row["valid"] is not None:
            self._outputs.labels(*release, "true" if row["valid"] else "false").inc()
        if row["output_tokens"] or row["prompt_tokens"]:
            self._tokens.labels(*release, "prompt").inc(row["prompt_tokens"])
            self._tokens.labels(*release, "output").inc(row["output_tokens"])
        if row["status"] == 200:
            gateway_ms = max(0.0, row["total_ms"] - row["queue_ms"] - row["model_ms"] - row["fallback_ms"])
            times = (row["total_ms"], row["queue_ms"], row["model_ms"], gateway_ms)
            for histogram, milliseconds in zip(self._latency.values(), times, strict=True):
                histogram.labels(*release).observe(milliseconds / 1_000)

    def rejected(self, status: int, code: str) -> None:
        """Counts a request that was rejected before it had an entry."""
        with contextlib.suppress(OSError):
            self._rejected.labels(str(status), code).inc()

    def log_failed(self) -> None:
        """Counts an entry that could not be written."""
        with contextlib.suppress(OSError):
            self._log_failures.inc()

    @contextlib.contextmanager
    def in_flight(self, slug: str) -> Iterator[None]:
        """A request of a project is being answered during the block."""
        gauge = self._gauge(slug)
        self.live[slug] += 1
        try:
            yield
        finally:
            if gauge is not None:
                gauge.dec()
            self.live[slug] -= 1

    def _gauge(self, slug: str) -> Gauge | None:
        """The gauge of a project's open requests with one more; None where it has no file."""
        try:
            gauge = self._in_flight.labels(slug)
        except OSError:
            return None
        gauge.inc()
        return gauge

    def note_breakers(self, open_addresses: set[str]) -> None:
        """Takes over which replicas this process does not ask."""
        for route in self._table.routes.values():
            for release in (route.stable, route.candidate):
                if release is not None and release.addresses:
                    number = len(open_addresses.intersection(release.addresses))
                    with contextlib.suppress(OSError):
                        self._open_breakers.labels(route.slug, str(release.number)).set(number)

    def text(
        self,
        project: str | None = None,
        *,
        replicas: ReplicaCounts | None = None,
        log: Path | None = None,
        engines: Iterable[Metric] = (),
    ) -> bytes:
        """All metrics, or those of one project. ``replicas``: as the database has them now; ``log``: the folder of the
        request log; ``engines``: the engines' own metrics."""
        registry = self._registry
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder:
            _forget_ended(Path(folder))
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)
        more = CollectorRegistry()
        more.register(_Now(replicas, log, engines))
        parts = [_OfProject(source, project) if project is not None else source for source in (registry, more)]
        return b"".join(generate_latest(part) for part in parts)

    def _labels(self, row: Row) -> tuple[str, str, str]:
        slug, version = "", ""
        for route in self._table.routes.values():
            if route.project_id == row["project_id"]:
                slug = route.slug
                known = {
                    release.id: release.number for release in (route.stable, route.candidate) if release is not None
                }
                version = str(known.get(row["release_id"] or 0, ""))
        return slug, version, "shadow" if row["shadow_of"] else row["source"]


class _Now(Collector):
    """Gauges that are read when they are asked for."""

    def __init__(self, replicas: ReplicaCounts | None, log: Path | None, engines: Iterable[Metric]) -> None:
        self._replicas, self._log, self._engines = replicas, log, list(engines)

    def collect(self) -> Iterable[Metric]:
        """Replicas by state; the backlog of the log; what engines report."""
        yield from self._engines
        if self._replicas is not None:
            family = GaugeMetricFamily(
                "slm_replicas", "Replicas with a heartbeat, by state.", labels=("project", "version", "state")
            )
            for labels, number in self._replicas.items():
                family.add_metric(labels, number)
            yield family
        if self._log is not None:
            size, age = backlog(self._log)
            yield GaugeMetricFamily(
                "slm_log_backlog_bytes", "Entries of the log that are not in the database yet.", value=size
            )
            yield GaugeMetricFamily(
                "slm_log_backlog_seconds",
                "Age of the oldest file of entries that are not in the database yet.",
                value=age,
            )


def backlog(folder: Path) -> tuple[int, float]:
    """Bytes of the files of the log that are not stored yet, and the seconds since the oldest one was written to."""
    size, oldest = 0, time.time()
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # it has been stored
            status = path.stat()
            size += status.st_size
            if status.st_size:
                oldest = min(oldest, status.st_mtime)
    return size, max(0.0, time.time() - oldest)


class _OfProject(CollectorRegistry):
    """The samples of another registry that belong to a project."""

    def __init__(self, of: CollectorRegistry, project: str) -> None:
        super().__init__()
        self._of, self._project = of, project

    def collect(self) -> Iterable[Metric]:
        """Its metrics; those without a project are left out."""
        for metric in self._of.collect():
            filtered = Metric(metric.name, metric.documentation, metric.type)
            filtered.samples = [sample for sample in metric.samples if sample.labels.get("project") == self._project]
            if filtered.samples:
                yield filtered


def _forget_ended(folder: Path) -> None:
    """Workers that were killed have no requests in flight."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = path.stem.rpartition("_")[2]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            mark_process_dead(int(pid), str(folder))
