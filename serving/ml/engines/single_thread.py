"""One document at a time for an engine that computes in a thread."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class SingleThread:
    """Runs work in one thread, in the order of its arrival.

    Work cannot be stopped: where its caller has hung up, it ends by itself before the next begins. Work that has not
    begun is dropped then.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def run(self, work: Callable[[float], Result]) -> Result:
        """The result of ``work``, which gets the milliseconds that it waited."""
        arrived = time.perf_counter()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: work(round((time.perf_counter() - arrived) * 1000, 2))
        )

    def close(self) -> None:
        """No more work is taken."""
        self._threads.shutdown(wait=False)
