"""Samples of the system: when they are due, and what they hold."""

from collections.abc import Sequence

from slmstudio.workers.hardware import Gpu
from slmstudio.workers.system_usage import SystemUsage


class Machine:
    """A clock, and processes that use one and a half cores."""

    def __init__(self) -> None:
        self.now = 0.0

    def usage(self, devices: list[int] | None = None, cards: Sequence[Gpu] = ()) -> SystemUsage:
        return SystemUsage(
            devices, clock=lambda: self.now, children=lambda: (1.5 * self.now, 2_000), cards=lambda: cards
        )


def test_samples_are_rare_in_long_runs() -> None:
    machine = Machine()
    usage = machine.usage()
    found = []
    for second in range(10 * 3600):
        machine.now = float(second)
        if usage.read() is not None:
            found.append(second)
    assert found[:3] == [5, 10, 15]
    assert 850 < len(found) < 1000


def test_values() -> None:
    machine = Machine()
    usage = machine.usage()
    machine.now = 10.0
    sample = usage.read()
    assert sample is not None
    assert (sample["cpu"], sample["memory_bytes"]) == (1.5, 2_000)
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
