"""Reads the bodies of requests, within limits of size and time, and notices callers that hang up."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import orjson
from django.conf import settings
from starlette.requests import ClientDisconnect, Request

from serving.gateway.problems import Problem

T = TypeVar("T")
#: seconds that a body may take to arrive
BODY_SECONDS = 30.0


async def read_object(request: Request, parse: Callable[[bytes], Any] = orjson.loads) -> dict[str, Any]:
    """The JSON object of a request. ``parse``: raises ValueError for what is no JSON.

    Raises:
        Problem: 408, 413, 415 or 400, by what is wrong with it.
        ClientDisconnect: the caller hung up.
    """
    if kind_of(request) != "application/json":
        raise Problem(415, "content_type", "Send application/json.")
    body = await read_bytes(request)
    try:
        value = parse(body)
        # orjson takes the last of two equal names; a proxy that checks the first one would see another document.
        json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "The body must be a JSON object.")
    return value


async def read_bytes(request: Request) -> bytes:
    """The body of a request as it was sent. Raises Problem 408 or 413, and ClientDisconnect."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read(request)
    except TimeoutError:
        raise Problem(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:g} s.") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("two members of an object have the same name")


async def _read(request: Request) -> bytes:
    limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large()
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > limit:
            raise too_large()
    return bytes(received)


def too_large() -> Problem:
    """413 with the limit."""
    limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
    return Problem(413, "too_large", f"A body can have at most {limit // 2**20} MB.")


def kind_of(request: Request) -> str:
    """The media type of a body; JSON where none is named."""
    return request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()


def text_field(value: dict[str, Any], name: str) -> str:
    """A document in a body. Raises Problem 422 where it is missing, empty, or no text."""
    text = value.get(name)
    if not isinstance(text, str):
        raise Problem(422, "field", f"{name} must be a string.", field=name)
    if not text.strip():
        raise Problem(422, "field", f"{name} is empty.", field=name)
    if "\0" in text:
        raise Problem(422, "field", f"{name} has a NUL character.", field=name)
    return text


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
        with contextlib.suppress(asyncio.CancelledError, Problem):
            await answering
        raise HungUp
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


__all__ = [
    "ClientDisconnect", "HungUp", "kind_of", "read_bytes", "read_object", "text_field", "too_large",
    "unless_disconnected",
]  # fmt: skip
