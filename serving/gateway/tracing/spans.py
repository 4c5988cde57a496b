"""Spans from what was logged and timed of a request. Imported only where traces are exported.

Spans are made and sent in a thread of their own, from a bounded list: a request appends to it and goes on, whatever the
collector does. What does not fit is dropped and counted.
"""

import json
import logging
import random
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from serving.gateway.request_log.writer import Row
from serving.gateway.routes import RouteTable
from serving.gateway.tracing.timeline import FALLBACK, MODEL, Step, Timeline

logger = logging.getLogger(__name__)
#: requests that wait to be sent, and those of one message
MAX_WAITING = 4_096
MAX_BATCH = 32
SEND_SECONDS = 1.0
#: between the requests of a batch, so that requests being answered get the interpreter
_PAUSE_SECONDS = 0.0002
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
#: protocol -> method and route
_ROUTES = {
    "extract": ("POST", "/api/v1/projects/{slug}/extract"),
    "openai": ("POST", "/v1/chat/completions"),
}
#: GenAI attributes are of semantic conventions 1.37; those that begin with ``slm.`` are our own
_OPERATION = "chat"
_KINDS = {MODEL: SpanKind.CLIENT, FALLBACK: SpanKind.CLIENT, "shadow": SpanKind.CLIENT}


class Exporter(Protocol):
    """What sends spans; blocks until it has, or gives up."""

    def export(self, spans: Sequence[ReadableSpan]) -> object:
        """Sends spans."""

    def shutdown(self) -> None:
        """Ends it."""


@dataclass(slots=True)
class Traced:
    """A request that has ended. ``wall``, ``clock``: the time of day and ``perf_counter`` at one moment."""

    row: Row
    timeline: Timeline
    slug: str
    version: int | None
    started: float
    ended: float
    wall: float
    clock: float

    def at(self, moment: float) -> int:
        """A moment of ``perf_counter`` in nanoseconds since 1970."""
        return int((self.wall + moment - self.clock) * 1e9)


class Tracer:
    """Sends the traces of one process. ``table``: for the names of projects and versions; ``share``: of the requests
    without a caller's trace that are traced, 0 to 1.
    """

    def __init__(
        self, exporter: Exporter, table: RouteTable, *, share: float = 1.0, with_content: bool = False
    ) -> None:
        self._exporter, self._share, self._with_content = exporter, share, with_content
        self._table = table
        self._waiting: deque[Traced] = deque(maxlen=MAX_WAITING)
        self.dropped = 0
        self._resource = Resource.create({})
        if str(self._resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            self._resource = self._resource.merge(Resource({SERVICE_NAME: "slm-gateway"}))
        self._scope = InstrumentationScope("slm_studio.gateway")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def record(self, row: Row, timeline: Timeline | None, *, started: float) -> None:
        """Takes a request that has ended; returns at once."""
        timeline = timeline or Timeline()
        if not self._is_sampled(timeline.parent):
            return
        if len(self._waiting) == MAX_WAITING:
            self.dropped += 1
        clock = time.perf_counter()
        self._waiting.append(Traced(row, timeline, *self._names(row), started, clock, time.time(), clock))

    def _names(self, row: Row) -> tuple[str, int | None]:
        """Slug of the project and number of the version."""
        for route in self._table.routes.values():
            if route.project_id == row["project_id"]:
                releases = (route.stable, route.candidate)
                numbers = {release.id: release.number for release in releases if release is not None}
                return route.slug, numbers.get(row["release_id"])
        return "", None

    def _is_sampled(self, parent: str) -> bool:
        match = _PARENT.fullmatch(parent)
        if match is not None:
            return bool(int(match[3], 16) & TraceFlags.SAMPLED)
        return self._share >= 1 or random.random() < self._share

    def close(self, seconds: float = 3.0) -> None:
        """Sends what waits, for at most so long."""
        self._stopped.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.wait(SEND_SECONDS):
            self._send()
        self._send()
        self._exporter.shutdown()

    def _send(self) -> None:
        while self._waiting:
            spans: list[ReadableSpan] = []
            for _ in range(min(MAX_BATCH, len(self._waiting))):
                try:
                    spans += self.spans(self._waiting.popleft())
                except Exception:
                    logger.exception("a trace could not be made")
                time.sleep(_PAUSE_SECONDS)
            try:
                self._exporter.export(spans)
            except Exception as error:  # of the exporter; the next batch may get through
                logger.warning("traces could not be sent: %s", error)

    # -- spans --------------------------------------------------------------------------------------------------------

    def spans(self, traced: Traced) -> list[ReadableSpan]:
        """The span of a request and those of its steps."""
        row = traced.row
        trace, above = _continued(traced.timeline.parent, row["shadow_of"] or row["id"])
        is_shadow = row["shadow_of"] is not None
        own = span_id_of(row["id"])
        if is_shadow:
            above = span_id_of(str(row["shadow_of"]))
        method, route = _ROUTES.get(row["protocol"], ("POST", row["protocol"]))
        name = "shadow" if is_shadow else f"{method} {route}"
        root = self._span(
            name, trace, own, above, traced.at(traced.started), traced.at(traced.ended),
            SpanKind.INTERNAL if is_shadow else SpanKind.SERVER, self._of_request(traced, method, route),
            error=row["code"] if row["status"] >= 500 else "", is_remote=not is_shadow,
        )  # fmt: skip
        spans = [root]
        for step in traced.timeline.steps:
            spans += self._of_step(traced, step, trace, own)
        return spans

    def _of_step(self, traced: Traced, step: Step, trace: int, above: int) -> list[ReadableSpan]:
        began, ended = traced.at(step.began), traced.at(step.ended)
        if step.name != MODEL:
            kind = _KINDS.get(step.name, SpanKind.INTERNAL)
            attributes = self._of_model(traced) if step.name == FALLBACK else {}
            return [self._span(step.name, trace, _new_id(), above, began, ended, kind, attributes, error=step.error)]
        # The replica says how long a document waited for a slot there.
        from_queue = min(ended, began + int(traced.row["queue_ms"] * 1e6))
        title = f"{_OPERATION} {_model(traced)}"
        return [
            self._span("queue", trace, _new_id(), above, began, from_queue, SpanKind.INTERNAL, {}),
            self._span(
                title, trace, _new_id(), above, from_queue, ended, SpanKind.CLIENT, self._of_model(traced),
                error=step.error,
            ),
        ]  # fmt: skip

    def _span(
        self, name: str, trace: int, own: int, above: int, began: int, ended: int, kind: SpanKind,
        attributes: dict[str, Any], *, error: str = "", is_remote: bool = False,
    ) -> ReadableSpan:  # fmt: skip
        parent = SpanContext(trace, above, is_remote, _SAMPLED) if above else None
        if error:
            attributes = {**attributes, "error.type": error}
        return ReadableSpan(
            name, SpanContext(trace, own, False, _SAMPLED), parent, self._resource, attributes, kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(), start_time=began, end_time=max(began, ended),
            instrumentation_scope=self._scope,
        )  # fmt: skip

    def _of_request(self, traced: Traced, method: str, route: str) -> dict[str, Any]:
        row = traced.row
        attributes: dict[str, Any] = {
            "http.request.method": method, "http.route": route, "http.response.status_code": row["status"],
            "slm.request_id": row["id"],
            "slm.project": traced.slug, "slm.answered_by": row["source"],
        }  # fmt: skip
        if traced.version is not None:
            attributes["slm.version"] = traced.version
        if row["stage"]:
            attributes["slm.stage"] = row["stage"]
        if row["valid"] is not None:
            attributes["slm.valid"] = row["valid"]
        return attributes

    def _of_model(self, traced: Traced) -> dict[str, Any]:
        row, model = traced.row, _model(traced)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": _OPERATION, "gen_ai.provider.name": "slm_studio", "gen_ai.request.model": model,
            "gen_ai.response.model": model, "gen_ai.response.id": row["id"], "gen_ai.output.type": "json",
            "gen_ai.usage.input_tokens": row["prompt_tokens"], "gen_ai.usage.output_tokens": row["output_tokens"],
        }  # fmt: skip
        if self._with_content and row["text"]:  # it is empty where the project stores no texts
            attributes["gen_ai.input.messages"] = _messages("user", row["text"])
            if row["output"]:
                attributes["gen_ai.output.messages"] = _messages("assistant", row["output"])
        return attributes


def _model(traced: Traced) -> str:
    return traced.slug if traced.version is None else f"{traced.slug}@{traced.version}"


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)


def _continued(parent: str, request_id: str) -> tuple[int, int]:
    """Trace and span above: those of the caller; else the request id is the id of the trace, and nothing is above."""
    match = _PARENT.fullmatch(parent)
    if match is not None and int(match[1], 16) and int(match[2], 16):
        return int(match[1], 16), int(match[2], 16)
    return uuid.UUID(request_id).int, 0


def span_id_of(request_id: str) -> int:
    """The id of the span of a request: its shadow names it without knowing more."""
    return uuid.UUID(request_id).int & 0xFFFFFFFFFFFFFFFF or 1


def _new_id() -> int:
    return random.getrandbits(64) or 1
