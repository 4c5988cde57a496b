"""Traces over OTLP, as a real receiver decodes them."""

import asyncio
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from serving.gateway.routes import RouteTable
from serving.gateway.tracing import spans as traces
from serving.gateway.tracing.timeline import tracer_of_environment
from tests.serving.event_loop import run
from tests.serving.gateway.rig import TEXT, answering, backend, release, reply, rig, route
from tests.serving.gateway.tracing.collector import Collector, collector, values

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "SEND_SECONDS", 0.05)
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def traced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, answer: Any = None, header: str = "", stage: str = "",
    environment: dict[str, str] | None = None, days: int = 30,
) -> tuple[Collector, Any]:  # fmt: skip
    """The collector after one request, and the response."""
    folder.mkdir(exist_ok=True)
    with collector() as spans:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)

        async def work() -> Any:
            async with backend(folder / "a", answer or reply()) as replica:
                candidate = release(4, replica.address) if stage else None
                where = route(release(3, replica.address), candidate, stage=stage, retention_days=days)
                async with rig(folder, where) as running:
                    running.gateway.responder.tracer = tracer_of_environment(running.gateway.table)
                    response = await running.extract(headers={"traceparent": header} if header else {})
                    while running.gateway.responder.shadows:
                        await asyncio.gather(*running.gateway.responder.shadows)
                    return response

        return spans, run(work())


async def slow(text: str) -> Any:
    """An answer that takes longer than the time in the queue that it reports."""
    await asyncio.sleep(0.02)
    return await reply()(text)


def test_a_request_has_spans_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, response = traced(tmp_path, monkeypatch, answer=slow)
    root = spans.named("POST /api/v1/projects/{slug}/extract")
    request_id = response.json()["request_id"]
    assert root.trace_id.hex() == uuid.UUID(request_id).hex
    assert (root.kind, root.parent_span_id, root.status.code) == (Span.SPAN_KIND_SERVER, b"", Status.STATUS_CODE_UNSET)
    attributes = values(root.attributes)
    assert attributes["http.response.status_code"] == 200
    assert attributes["slm.project"] == "invoices"
    assert attributes["slm.version"] == 3
    assert attributes["slm.answered_by"] == "stable"
    assert attributes["slm.request_id"] == request_id
    steps = [spans.named(name) for name in ("queue", "chat invoices@3", "validation")]
    for step in steps:
        assert (step.trace_id, step.parent_span_id) == (root.trace_id, root.span_id)
        assert root.start_time_unix_nano <= step.start_time_unix_nano
        assert step.start_time_unix_nano <= step.end_time_unix_nano <= root.end_time_unix_nano
    queue, model, validation = steps
    assert queue.end_time_unix_nano - queue.start_time_unix_nano == pytest.approx(1e6, abs=1e3)
    assert queue.end_time_unix_nano == model.start_time_unix_nano
    assert model.end_time_unix_nano <= validation.start_time_unix_nano
    assert abs(root.end_time_unix_nano / 1e9 - time.time()) < 30
    assert spans.resource["service.name"] == "slm-gateway"


def test_the_model_span_follows_the_conventions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, response = traced(tmp_path, monkeypatch)
    model = spans.named("chat invoices@3")
    assert model.kind == Span.SPAN_KIND_CLIENT
    assert values(model.attributes) == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "slm_studio", "gen_ai.request.model": "invoices@3",
        "gen_ai.response.model": "invoices@3", "gen_ai.response.id": response.json()["request_id"],
        "gen_ai.output.type": "json", "gen_ai.usage.input_tokens": 30, "gen_ai.usage.output_tokens": 12,
    }  # fmt: skip


def test_the_callers_trace_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, _ = traced(tmp_path / "good", monkeypatch, header=PARENT)
    root = spans.named("POST")
    assert root.trace_id.hex() == PARENT.split("-")[1]
    assert root.parent_span_id.hex() == PARENT.split("-")[2]
    assert {span.trace_id for span in spans.spans} == {root.trace_id}
    # A wrong header begins a trace.
    for number, header in enumerate(("00-0-0-01", "junk", f"00-{'0' * 32}-b7ad6b7169203331-01")):
        spans, response = traced(tmp_path / str(number), monkeypatch, header=header)
        root = spans.named("POST")
        assert (root.trace_id.hex(), root.parent_span_id) == (uuid.UUID(response.json()["request_id"]).hex, b"")


def test_what_the_caller_does_not_sample_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert traced(tmp_path / "a", monkeypatch, header=f"{PARENT[:-2]}00")[0].spans == []
    none = {"OTEL_TRACES_SAMPLER_ARG": "0"}
    assert traced(tmp_path / "b", monkeypatch, environment=none)[0].spans == []
    assert traced(tmp_path / "c", monkeypatch, environment=none, header=PARENT)[0].spans


def test_texts_are_sent_only_where_the_setting_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (setting, days, expected) in enumerate((("", 30, False), ("true", 30, True), ("true", 0, False))):
        environment = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": setting}
        spans, _ = traced(tmp_path / str(number), monkeypatch, environment=environment, days=days)
        everything = b"".join(span.SerializeToString() for span in spans.spans)
        for part in (TEXT.encode(), b"gen_ai.input.messages", b"gen_ai.output.messages"):
            assert (part in everything) is expected, (setting, days)


def test_a_shadow_is_below_its_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spans, _ = traced(tmp_path, monkeypatch, stage="shadow")
    root, shadow = spans.named("POST"), spans.named("shadow")
    assert (shadow.trace_id, shadow.parent_span_id) == (root.trace_id, root.span_id)
    assert spans.named("chat invoices@4").parent_span_id == shadow.span_id


def test_without_an_endpoint_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracer_of_environment(RouteTable()) is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert tracer_of_environment(RouteTable()) is None


class Stuck:
    """An exporter whose collector does not answer."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.sent = 0

    def export(self, spans: Any) -> None:
        self.free.wait()
        self.sent += len(spans)

    def shutdown(self) -> None:
        """Nothing to end."""


def test_a_collector_that_hangs_costs_a_request_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_WAITING", 8)
    exporter = Stuck()

    async def work() -> None:
        async with answering(tmp_path, number=3) as (running, _):
            tracer = running.gateway.responder.tracer = traces.Tracer(exporter, running.gateway.table)
            await running.extract()
            while tracer._waiting:  # the thread has it, and waits for the collector
                await asyncio.sleep(0.01)
            started = time.perf_counter()
            for _ in range(20):
                assert (await running.extract()).status_code == 200
            assert time.perf_counter() - started < 5
            assert (len(tracer._waiting), tracer.dropped) == (8, 12)
            exporter.free.set()

    run(work())
    assert exporter.sent == 9 * 4
