"""Whether this process exports traces, by the environment variables of OpenTelemetry."""

import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from serving.gateway.routes import RouteTable
    from serving.gateway.tracing.traces import Tracer

logger = logging.getLogger(__name__)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SHARE = "OTEL_TRACES_SAMPLER_ARG"
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


def tracer_of_environment(table: "RouteTable") -> "Tracer | None":
    """The tracer, None where no endpoint is set or OTEL_SDK_DISABLED is true."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not any(os.environ.get(name, "").strip() for name in _ENDPOINTS):
        return None
    # Loaded only here: without traces the gateway needs none of it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from serving.gateway.tracing.traces import Tracer

    # The thread that sends traces must not keep the interpreter for the usual 5 ms while requests wait for it.
    sys.setswitchinterval(min(sys.getswitchinterval(), 0.0005))
    return Tracer(OTLPSpanExporter(), table, share=_share(), with_content=_with_content())


def _share() -> float:
    text = os.environ.get(_SHARE, "").strip()
    try:
        return min(1.0, max(0.0, float(text))) if text else 1.0
    except ValueError:
        logger.warning("%s is not a number: %s", _SHARE, text[:40])
        return 1.0


def _with_content() -> bool:
    return os.environ.get(_CONTENT, "").strip().lower() in ("true", "1", "span_only", "span_and_event")
