"""When the steps of a request began and ended: what a trace is made of later, outside the request; and whether this
process exports traces, by the environment variables of OpenTelemetry.

The timeline of a request is in its context, so that a step is noted where it happens. Without a tracer there is none.
"""

import contextlib
import functools
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from serving.gateway.routes import RouteTable
    from serving.gateway.tracing.spans import Tracer

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
#: what a step of a request is called
MODEL, VALIDATION, FALLBACK = "model", "validation", "fallback"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SHARE = "OTEL_TRACES_SAMPLER_ARG"
_CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@dataclass(slots=True)
class Step:
    """A step by its name; times of ``time.perf_counter``. ``error``: the code that it ended with."""

    name: str
    began: float
    ended: float = 0.0
    error: str = ""


@dataclass(slots=True)
class Timeline:
    """The steps of one request. ``parent``: the header ``traceparent`` of the caller."""

    parent: str = ""
    steps: list[Step] = field(default_factory=list)


_current: ContextVar[Timeline | None] = ContextVar("timeline", default=None)


def begin(parent: str) -> None:
    """Begins the timeline of a request in this context."""
    _current.set(Timeline(parent))


def begin_shadow() -> None:
    """Begins a timeline of its own for a task that repeats a request."""
    timeline = _current.get()
    if timeline is not None:
        _current.set(Timeline(timeline.parent))


def current() -> Timeline | None:
    """The timeline of this context."""
    return _current.get()


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Notes a step; an exception that has a ``code`` is its error."""
    timeline = _current.get()
    if timeline is None:
        yield
        return
    begun = Step(name, time.perf_counter())
    timeline.steps.append(begun)
    try:
        yield
    except BaseException as error:
        begun.error = str(getattr(error, "code", "") or type(error).__name__)
        raise
    finally:
        begun.ended = time.perf_counter()


def timed(name: str) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Decorator: a coroutine is a step."""

    def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(function)
        async def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
            with step(name):
                return await function(*args, **kwargs)

        return wrapped

    return decorate


def tracer_of_environment(table: "RouteTable") -> "Tracer | None":
    """The tracer, None where no endpoint is set or OTEL_SDK_DISABLED is true."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if disabled or not any(os.environ.get(name, "").strip() for name in _ENDPOINTS):
        return None
    # Loaded only here: without traces the gateway needs none of it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from serving.gateway.tracing.spans import Tracer

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
