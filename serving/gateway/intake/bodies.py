"""Reads the bodies of requests, within limits of size and time, and notices callers that hang up.

A body is read once its token is known. A large one takes one of few places of its project, and is parsed in a thread,
so that no caller makes others wait.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import orjson
from django.conf import settings
from starlette.requests import ClientDisconnect, Request

from serving.gateway.intake import json_check
from serving.gateway.problems import GatewayProblem
from serving.replicas.protocol import MAX_TEXT

T = TypeVar("T")
#: seconds that a body may take to arrive
BODY_SECONDS = 30.0
#: bytes above which work on a body leaves the event loop
SMALL = 32_768
#: bytes above which a body takes a place of its project, and how many places there are
LARGE, PLACES = 2**20, 4


class BodyReader:
    """Reads the bodies of one gateway process. ``owner``: the project whose token was sent with it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bodies")
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def read_object(
        self, request: Request, owner: str, parse: Callable[[bytes], Any] = orjson.loads
    ) -> dict[str, Any]:
        """The JSON object of a request. ``parse``: raises ValueError for what is no JSON.

        Raises:
            GatewayProblem: 408, 413, 415 or 400, by what is wrong with it.
            ClientDisconnect: the caller hung up.
        """
        if kind_of(request) != "application/json":
            raise GatewayProblem(415, "content_type", "Send application/json.")

        def parsed(body: bytes) -> Any:
            json_check.check(body)
            return parse(body)

        try:
            value = await self.read(request, owner, parsed)
        except json_check.TooComplex as error:
            raise GatewayProblem(413, "too_large", f"The body cannot be read: {error}.") from error
        except (ValueError, RecursionError) as error:
            raise GatewayProblem(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
        if not isinstance(value, dict):
            raise GatewayProblem(400, "invalid_json", "The body must be a JSON object.")
        return value

    async def read(self, request: Request, owner: str, work: Callable[[bytes], T]) -> T:
        """What ``work`` makes of a body; in a thread, where it is not small.

        Raises GatewayProblem 408 or 413, ClientDisconnect, and what ``work`` raises.
        """
        async with self._body(request, owner) as body:
            if len(body) <= SMALL:
                return work(body)
            return await self.in_thread(lambda: work(body))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of work on a large text."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextlib.asynccontextmanager
    async def _body(self, request: Request, owner: str) -> AsyncIterator[bytes]:
        limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large()
        received = bytearray()
        async with contextlib.AsyncExitStack() as stack:
            place: asyncio.Semaphore | None = None
            try:
                async with asyncio.timeout(BODY_SECONDS) as deadline:
                    async for piece in request.stream():
                        received += piece
                        if len(received) > limit:
                            raise too_large()
                        if len(received) > LARGE and place is None:
                            place = self._places.setdefault(owner, asyncio.Semaphore(PLACES))
                            await self._wait(stack, place, deadline)
            except TimeoutError:
                raise GatewayProblem(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:g} s.") from None
            yield bytes(received)

    @staticmethod
    async def _wait(stack: contextlib.AsyncExitStack, place: asyncio.Semaphore, deadline: asyncio.Timeout) -> None:
        """Waits for a place; the caller's time stands still."""
        loop = asyncio.get_running_loop()
        began, until = loop.time(), deadline.when()
        deadline.reschedule(None)
        await stack.enter_async_context(place)
        deadline.reschedule(until + loop.time() - began if until is not None else None)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def too_large() -> GatewayProblem:
    """413 with the limit."""
    limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
    return GatewayProblem(413, "too_large", f"A body can be at most {limit // 2**20} MB.")


def kind_of(request: Request) -> str:
    """The media type of a body; JSON where none is named."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def text_field(value: dict[str, Any], name: str) -> str:
    """A document in a body. Raises GatewayProblem 422 where it is missing, empty, or no text, 413 where it is too
    long."""
    text = value.get(name)
    if not isinstance(text, str):
        raise GatewayProblem(422, "field", f"{name} must be a string.", field=name)
    if not text.strip():
        raise GatewayProblem(422, "field", f"{name} is empty.", field=name)
    if "\0" in text:
        raise GatewayProblem(422, "field", f"{name} contains a NUL character.", field=name)
    check_length(text)
    return text


def check_length(text: str) -> None:
    """Raises GatewayProblem 413 for a document that is longer than any replica takes."""
    if len(text) > MAX_TEXT:
        raise GatewayProblem(413, "too_long", f"A document can have at most {MAX_TEXT:,} characters.")


class HungUp(Exception):
    """The caller closed the connection before the response."""


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled where the caller hangs up. Raises HungUp then."""
    answering = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError, GatewayProblem):
            await answering
        raise HungUp
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


__all__ = [
    "BodyReader", "ClientDisconnect", "HungUp", "check_length", "kind_of", "text_field", "too_large",
    "unless_disconnected",
]  # fmt: skip
