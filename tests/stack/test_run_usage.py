"""Samples of the system: when they are due, and what they hold."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from slmstudio.workers.hardware import Gpu
from slmstudio.workers.run_usage import Reading, SystemUsage, read_processes, slow_warning


class Machine:
    """A clock, own processes that use one and a half cores, and others that use a quarter."""

    def __init__(self) -> None:
        self.now = 0.0

    def usage(self, devices: list[int] | None = None, cards: Sequence[Gpu] = ()) -> SystemUsage:
        return SystemUsage(devices, clock=lambda: self.now, read=self.read, cards=lambda: cards)

    def read(self) -> Reading:
        return Reading(busy=1.75 * self.now, own=1.5 * self.now, resident=2_000)


def test_samples_are_rare_in_long_runs() -> None:
    machine = Machine()
    usage = machine.usage()
    sampled = []
    for second in range(10 * 3600):
        machine.now = float(second)
        if usage.read() is not None:
            sampled.append(second)
    assert sampled[:3] == [5, 10, 15]
    assert 850 < len(sampled) < 1000


def test_values() -> None:
    machine = Machine()
    usage = machine.usage()
    machine.now = 10.0
    sample = usage.read()
    assert sample is not None
    assert (sample["cpu"], sample["others"], sample["machine_cpu"]) == (1.5, 0.25, 1.75)
    assert sample["memory_bytes"] == 2_000
    assert 0 < sample["machine_memory_bytes"] < sample["machine_memory_total"]
    assert "gpu" not in sample


def test_only_the_gpus_of_the_run_count() -> None:
    cards = [Gpu(0, "a", "A", 80, 10, 0.2), Gpu(1, "b", "B", 80, 30, 0.9), Gpu(2, "c", "C", 80)]
    machine = Machine()
    some, none = machine.usage([1, 2], cards), machine.usage([], cards)
    machine.now = 10.0
    sample = some.read()
    assert sample is not None
    assert (sample["gpu"], sample["gpu_memory_bytes"], sample["gpu_memory_total"]) == (0.9, 30, 160)
    assert "gpu" not in (none.read() or {})


def test_a_child_that_ended_with_its_seconds_gives_no_sample() -> None:
    readings = iter([Reading(100, 10, 0), Reading(118, 13, 0), Reading(160, 1, 0)])
    clock = iter([0.0, 10.0, 20.0])
    usage = SystemUsage((), clock=lambda: next(clock), read=lambda: next(readings))
    sample = usage.read()
    assert sample is not None
    assert sample["cpu"] == 0.3
    assert usage.read() is None


def test_ended_children_count_as_own() -> None:
    before = read_processes().own
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert read_processes().own - before >= 0.25


BUSY, IDLE = {"others": 1.7, "cores": 2.0}, {"others": 0.1, "cores": 2.0}


@pytest.mark.parametrize(
    ("measured", "expected", "load", "named"),
    [
        (8, 60, BUSY, (True, True)),
        (8, 60, IDLE, (True, False)),
        (8, 60, None, (True, False)),
        (31, 60, BUSY, (False, False)),
        (None, 60, BUSY, (False, False)),
        (8, None, BUSY, (False, False)),
    ],
)
def test_slow_warning(measured: Any, expected: Any, load: Any, named: tuple[bool, bool]) -> None:
    """It names the speed, and other programs where they use the cores."""
    warning = slow_warning(measured, expected, load, estimate="estimated")
    assert ("8.0" in warning, "1.7 of 2 cores" in warning) == named
