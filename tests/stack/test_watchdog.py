"""Killed servers restart while they are in use, with increasing delays."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from slmstudio import stack
from slmstudio.stack import lifecycle, processes
from slmstudio.stack.errors import StackError
from slmstudio.stack.watchdog import ServerWatchdog
from tests.stack.test_servers import servers


def test_only_used_servers_restart(home: Path) -> None:
    running = stack.start(home, ["valkey"])
    try:
        assert lifecycle.restart_ended(running) == []
        valkey = servers(home)[1]
        assert valkey is not None
        valkey.kill()
        assert processes.ended(valkey, 10)
        assert lifecycle.restart_ended(running) == ["Valkey"]
        assert servers(home)[0] is None
    finally:
        stack.stop(running)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("slmstudio.stack.watchdog.monotonic", clock)
    return clock


def watch(clock: Clock, checks: int) -> tuple[list[str], ServerWatchdog]:
    """What a watchdog prints in as many checks, ten a second."""
    printed: list[str] = []
    running: Any = object()
    watchdog = ServerWatchdog(running, printed.append)
    for _ in range(checks):
        watchdog.check()
        clock.now += 0.1
    return printed, watchdog


def test_restart_delays_grow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[float] = []

    def fail(running: Any) -> list[str]:
        tries.append(clock.now)
        raise StackError("The disk is too full to start Valkey.")

    monkeypatch.setattr(lifecycle, "restart_ended", fail)
    printed, _ = watch(clock, 700)
    assert [round(later - earlier) for earlier, later in pairwise(tries)] == [1, 2, 4, 8, 16, 30]
    assert printed[0] == "The disk is too full to start Valkey. The next attempt is in 1 s."


def test_checks_once_a_second_and_resets_delays(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    gone = [False]

    def start(running: Any) -> list[str]:
        looks.append(clock.now)
        return ["Valkey"] if gone[0] else []

    monkeypatch.setattr(lifecycle, "restart_ended", start)
    printed, watchdog = watch(clock, 50)
    assert len(looks) in (5, 6)
    gone[0] = True
    for _ in range(2):
        clock.now += 60
        watchdog.check()
    assert printed == ["Valkey had ended and was restarted."] * 2
    clock.now += 1.1
    watchdog.check()
    assert len(printed) == 3, "after a while of peace the pause is the first one's again"
