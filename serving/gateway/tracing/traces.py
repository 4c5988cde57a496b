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

from serving.gateway.request_log import LogEntry
from serving.gateway.routes import RouteTable
from serving.gateway.tracing import names
from serving.gateway.tracing.timeline import Step, Timeline

logger = logging.getLogger(__name__)
#: requests that wait to be sent, and those of one message
MAX_WAITING = 4_096
MAX_BATCH = 32
SEND_SECONDS = 1.0
#: between the requests of a batch, so that requests being answered get the interpreter
_PAUSE_SECONDS = 0.0002
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS = {names.MODEL: SpanKind.CLIENT, names.FALLBACK: SpanKind.CLIENT, names.SHADOW: SpanKind.CLIENT}


class Exporter(Protocol):
    """What sends spans; blocks until it has, or gives up."""

    def export(self, spans: Sequence[ReadableSpan]) -> object:
        """Sends spans."""

    def shutdown(self) -> None:
        """Ends it."""


@dataclass(slots=True)
class Traced:
    """A request that has ended. ``wall``, ``clock``: the time of day and ``perf_counter`` at one moment."""

    entry: LogEntry
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
            self._resource = self._resource.merge(Resource({SERVICE_NAME: names.SERVICE}))
        self._scope = InstrumentationScope(names.SCOPE)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def record(self, entry: LogEntry, timeline: Timeline | None, *, started: float) -> None:
        """Takes a request that has ended; returns at once."""
        timeline = timeline or Timeline()
        if not self._is_sampled(timeline.parent):
            return
        if len(self._waiting) == MAX_WAITING:
            self.dropped += 1
        clock = time.perf_counter()
        self._waiting.append(Traced(entry, timeline, *self._names(entry), started, clock, time.time(), clock))

    def _names(self, entry: LogEntry) -> tuple[str, int | None]:
        """Slug of the project and number of the version."""
        for route in self._table.routes.values():
            if route.project_id == entry.project_id:
                releases = (route.stable, route.candidate)
                number = next(
                    (release.number for release in releases if release is not None and release.id == entry.release_id),
                    None,
                )
                return route.slug, number
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
        entry = traced.entry
        trace, above = _continued(traced.timeline.parent, entry.shadow_of or entry.id)
        is_shadow = entry.shadow_of is not None
        own = span_id_of(entry.id)
        if is_shadow:
            above = span_id_of(str(entry.shadow_of))
        method, route = names.ROUTES.get(entry.protocol, ("POST", entry.protocol))
        name = names.SHADOW if is_shadow else f"{method} {route}"
        root = self._span(
            name, trace, own, above, traced.at(traced.started), traced.at(traced.ended),
            SpanKind.INTERNAL if is_shadow else SpanKind.SERVER, self._of_request(traced, method, route),
            error=entry.code if entry.status >= 500 else "", is_remote=not is_shadow,
        )  # fmt: skip
        spans = [root]
        for step in traced.timeline.steps:
            spans += self._of_step(traced, step, trace, own)
        return spans

    def _of_step(self, traced: Traced, step: Step, trace: int, above: int) -> list[ReadableSpan]:
        began, ended = traced.at(step.began), traced.at(step.ended)
        if step.name != names.MODEL:
            kind = _KINDS.get(step.name, SpanKind.INTERNAL)
            attributes = self._of_model(traced) if step.name == names.FALLBACK else {}
            return [self._span(step.name, trace, _new_id(), above, began, ended, kind, attributes, error=step.error)]
        # The replica says how long a document waited for a slot there.
        from_queue = min(ended, began + int(traced.entry.queue_ms * 1e6))
        title = f"{names.OPERATION} {_model(traced)}"
        return [
            self._span(names.QUEUE, trace, _new_id(), above, began, from_queue, SpanKind.INTERNAL, {}),
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
            attributes = {**attributes, names.ERROR_TYPE: error}
        return ReadableSpan(
            name, SpanContext(trace, own, False, _SAMPLED), parent, self._resource, attributes, kind=kind,
            status=Status(StatusCode.ERROR, error) if error else Status(), start_time=began, end_time=max(began, ended),
            instrumentation_scope=self._scope,
        )  # fmt: skip

    def _of_request(self, traced: Traced, method: str, route: str) -> dict[str, Any]:
        entry = traced.entry
        attributes: dict[str, Any] = {
            names.METHOD: method, names.ROUTE: route, names.STATUS: entry.status, names.REQUEST_ID: entry.id,
            names.PROJECT: traced.slug, names.ANSWERED_BY: entry.source,
        }  # fmt: skip
        if traced.version is not None:
            attributes[names.VERSION] = traced.version
        if entry.stage:
            attributes[names.STAGE] = entry.stage
        if entry.valid is not None:
            attributes[names.VALID] = entry.valid
        return attributes

    def _of_model(self, traced: Traced) -> dict[str, Any]:
        entry, model = traced.entry, _model(traced)
        attributes: dict[str, Any] = {
            names.OPERATION_NAME: names.OPERATION, names.PROVIDER_NAME: names.PROVIDER, names.REQUEST_MODEL: model,
            names.RESPONSE_MODEL: model, names.RESPONSE_ID: entry.id, names.OUTPUT_TYPE: "json",
            names.INPUT_TOKENS: entry.prompt_tokens, names.OUTPUT_TOKENS: entry.output_tokens,
        }  # fmt: skip
        if self._with_content and entry.text:  # it is empty where the project stores no texts
            attributes[names.INPUT_MESSAGES] = _messages("user", entry.text)
            if entry.output:
                attributes[names.OUTPUT_MESSAGES] = _messages("assistant", entry.output)
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
