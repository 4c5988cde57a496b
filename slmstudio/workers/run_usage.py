"""CPU, memory and GPU usage of this process and those that it started, and of other programs, over time."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import psutil

from slmstudio.workers.hardware import Gpu, gpus

#: seconds between two samples at first; later a two-hundredth of the time so far, so that a long run has few rows
FIRST_SECONDS = 5.0
SAMPLES = 200
#: a rate below this share of the estimate is slow
SLOW_RATIO = 0.5
#: minimum share of the cores at which other programs are named as the reason
NOTICEABLE = 0.2


class Reading(NamedTuple):
    """Processor seconds since a fixed start, in total and of this process; resident bytes of its children."""

    busy: float
    own: float
    resident: int


def read_processes() -> Reading:
    """What this process and the machine have used so far."""
    times = psutil.cpu_times()
    # Waiting for a disk leaves a core free, and guest time is already included in user.
    busy = sum(getattr(times, name, 0.0) for name in ("user", "system", "nice", "irq", "softirq"))
    own, resident = 0.0, 0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error), process.oneshot():
            spent = process.cpu_times()
            # Children that ended and were waited for are counted with the process that started them.
            own += spent.user + spent.system
            own += getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
            resident += process.memory_info().rss if process != me else 0
    return Reading(busy, own, resident)


class SystemUsage:
    """Samples of the usage of this process and its children, and of the machine they run on."""

    def __init__(
        self,
        devices: Sequence[int] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[], Reading] = read_processes,
        cards: Callable[[], Sequence[Gpu]] = gpus,
    ) -> None:
        """``devices``: indexes of the GPUs in use; None for all of the machine, without any for none."""
        self._devices, self._clock, self._read, self._cards = devices, clock, read, cards
        self._began = self._at = clock()
        self._last = read()

    def read(self) -> dict[str, Any] | None:
        """A sample, or None while none is due, or if the share of this process is unknown.

        ``cpu``: cores that this process and its children used since the last sample, ``others``: those that other
        programs used, ``machine_cpu``: cores busy in total, of ``cores``; ``memory_bytes`` of the children,
        ``machine_memory_bytes`` in use of ``machine_memory_total``. With a GPU also ``gpu`` (mean load, 0 to 1),
        ``gpu_memory_bytes`` and ``gpu_memory_total`` (sums).
        """
        now = self._clock()
        passed = now - self._at
        if passed < max(FIRST_SECONDS, (now - self._began) / SAMPLES):
            return None
        before, self._last, self._at = self._last, self._read(), now
        own = (self._last.own - before.own) / passed
        if own < 0:  # the time of a child that has ended is included, so that it does not count as others'
            return None
        machine, cores = psutil.virtual_memory(), psutil.cpu_count() or 1
        busy = (self._last.busy - before.busy) / passed
        values: dict[str, Any] = {
            "cpu": round(own, 2),
            "others": round(min(float(cores), max(0.0, busy - own)), 2),
            "machine_cpu": round(busy, 2),
            "cores": cores,
            "memory_bytes": self._last.resident,
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


def slow_warning(measured: float | None, expected: float | None, load: dict[str, Any] | None, *, estimate: str) -> str:
    """A warning if a run makes less than half the expected tokens per second; "" otherwise.

    ``estimate``: the source of the expected rate, such as "estimated". Other programs are named as the reason only if
    the load shows it.
    """
    if not measured or not expected or measured >= SLOW_RATIO * expected:
        return ""
    words = f"{_rate(measured)} tokens a second, {estimate} {_rate(expected)}"
    others, cores = float((load or {}).get("others") or 0), float((load or {}).get("cores") or 0)
    if cores and others >= NOTICEABLE * cores:
        words += f"; other programs are using {others:.1f} of {cores:.0f} cores"
    return f"{words}."


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
