"""When the steps of a request began and ended: what a trace is made of later, outside the request. Pure.

The timeline of a request is in its context, so that a step is noted where it happens. Without a tracer there is none.
"""

import contextlib
import functools
import time
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
