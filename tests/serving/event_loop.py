"""Runs coroutines in a thread: in the main one, playwright's event loop goes on after the first browser test."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine."""
    return in_thread(lambda: asyncio.run(work))


def in_thread(work: Callable[[], T]) -> T:
    """The result of a function that runs an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
