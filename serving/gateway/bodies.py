"""Reads the bodies of requests, within limits of size and time."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from django.conf import settings
from starlette.requests import ClientDisconnect, Request

from serving.gateway.problems import Problem

#: seconds that a body may take to arrive
BODY_SECONDS = 30.0


async def read_object(request: Request, parse: Callable[[bytes], Any] = orjson.loads) -> dict[str, Any]:
    """The JSON object of a request. ``parse``: raises ValueError for what is no JSON.

    Raises:
        Problem: 408, 413, 415 or 400, by what is wrong with it.
        ClientDisconnect: the caller hung up.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "content_type", "Send application/json.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(request)
    except TimeoutError:
        raise Problem(408, "slow_body", f"The body did not arrive within {BODY_SECONDS:g} s.") from None
    try:
        value = parse(body)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"The body is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Problem(400, "invalid_json", "The body must be a JSON object.")
    return value


async def _read(request: Request) -> bytes:
    limit = int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0)
    too_large = Problem(413, "too_large", f"A body can have at most {limit // 2**20} MB.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > limit:
            raise too_large
    return bytes(received)


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


__all__ = ["ClientDisconnect", "read_object", "text_field"]
