"""An engine in one thread: what happens to work whose caller has hung up."""

import asyncio
import threading
from typing import Any

import pytest

from serving.ml.engines.engine import SingleThread


async def test_work_of_a_caller_who_has_hung_up_ends_before_the_next_begins() -> None:
    release, running, most, begun = threading.Event(), [0], [0], []

    def work(name: str) -> Any:
        def do(waited: float) -> tuple[str, float]:
            begun.append(name)
            running[0] += 1
            most[0] = max(most[0], running[0])
            release.wait(10)
            running[0] -= 1
            return name, waited

        return do

    thread = SingleThread()
    first, dropped, last = (asyncio.ensure_future(thread.run(work(name))) for name in "abc")
    while not begun:
        await asyncio.sleep(0.001)
    for one in (first, dropped):
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
    await asyncio.sleep(0.02)
    assert begun == ["a"]
    release.set()
    name, waited = await last
    assert (name, waited >= 20) == ("c", True)
    thread.close()
    assert (begun, most[0]) == (["a", "c"], 1)
