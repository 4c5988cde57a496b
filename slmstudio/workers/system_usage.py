"""CPU, memory and GPU usage of the processes that this process started, over time."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psutil

from slmstudio.workers.hardware import Gpu, gpus

#: seconds between two samples at first; later a two-hundredth of the time so far, so that a long run has few rows
FIRST_SECONDS = 5.0
SAMPLES = 200


def _children() -> tuple[float, int]:
    """Processor seconds and resident bytes of all processes below this one."""
    seconds, resident = 0.0, 0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            seconds += times.user + times.system
            resident += process.memory_info().rss
    return seconds, resident


class SystemUsage:
    """Samples of the usage of this process's children, and of the machine they run on."""

    def __init__(
        self,
        devices: Sequence[int] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        children: Callable[[], tuple[float, int]] = _children,
        cards: Callable[[], Sequence[Gpu]] = gpus,
    ) -> None:
        """``devices``: indexes of the GPUs in use; None for all of the machine, without any for none."""
        self._devices, self._clock, self._children, self._cards = devices, clock, children, cards
        self._began = self._at = clock()
        self._spent = children()[0]
        psutil.cpu_percent()  # the first call has nothing to compare with

    def read(self) -> dict[str, Any] | None:
        """A sample, or None while none is due.

        ``cpu``: cores that the children used since the last sample, ``machine_cpu``: cores busy in total, of ``cores``;
        ``memory_bytes`` of the children, ``machine_memory_bytes`` in use of ``machine_memory_total``. With a GPU also
        ``gpu`` (mean load, 0 to 1), ``gpu_memory_bytes`` and ``gpu_memory_total`` (sums).
        """
        now = self._clock()
        passed = now - self._at
        if passed < max(FIRST_SECONDS, (now - self._began) / SAMPLES):
            return None
        self._at = now
        spent, resident = self._children()
        used, self._spent = max(0.0, spent - self._spent), spent
        machine, cores = psutil.virtual_memory(), psutil.cpu_count() or 1
        values: dict[str, Any] = {
            "cpu": round(used / passed, 2),
            "machine_cpu": round(psutil.cpu_percent() / 100 * cores, 2),
            "cores": cores,
            "memory_bytes": resident,
            "machine_memory_bytes": machine.total - machine.available,
            "machine_memory_total": machine.total,
        }
        return {**values, **self._gpu_values()}

    def _gpu_values(self) -> dict[str, Any]:
        if self._devices is not None and not self._devices:
            return {}
        cards = [card for card in self._cards() if self._devices is None or card.index in self._devices]
        loads = [card.load for card in cards if card.load is not None]
        if not cards:
            return {}
        return {
            "gpu": round(sum(loads) / len(loads), 3) if loads else None,
            "gpu_memory_bytes": sum(card.used_bytes or 0 for card in cards),
            "gpu_memory_total": sum(card.memory_bytes for card in cards),
        }
