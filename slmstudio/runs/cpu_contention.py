"""The CPU load of other programs on this machine, and a warning if it slows a run down."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import psutil

#: minimum seconds between two readings
WINDOW_SECONDS = 10.0
#: a rate below this share of the estimate is slow
SLOW_RATIO = 0.5
#: minimum share of the cores at which other programs are named as the reason
NOTICEABLE = 0.2


class Seconds(NamedTuple):
    """Seconds since a fixed start: of the clock, of the processor busy in total, and busy with this process."""

    clock: float
    busy: float
    own: float


def _now() -> Seconds:
    times = psutil.cpu_times()
    # Waiting for a disk leaves a core free, and guest time is already included in user.
    busy = sum(getattr(times, name, 0.0) for name in ("user", "system", "nice", "irq", "softirq"))
    me = psutil.Process()
    own = 0.0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error):
            spent = process.cpu_times()
            # Children that ended and were waited for are counted with the process that started them.
            own += spent.user + spent.system
            own += getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
    return Seconds(time.monotonic(), busy, own)


class OtherProcessLoad:
    """Measures how many cores other programs used since the last reading."""

    def __init__(self, now: Callable[[], Seconds] = _now, cores: int | None = None) -> None:
        self._now = now
        self._cores = cores or psutil.cpu_count() or 1
        self._last = now()

    def read(self) -> dict[str, float] | None:
        """``{others, cores}``, both in cores; None until ``WINDOW_SECONDS`` have passed since the last reading, or if
        the share of this process is unknown.
        """
        if time.monotonic() - self._last.clock < WINDOW_SECONDS:
            return None
        before, self._last = self._last, self._now()
        passed = max(1e-9, self._last.clock - before.clock)
        own = self._last.own - before.own
        if own < 0:  # the time of a child that has ended is included, so that it does not count as others'
            return None
        others = (self._last.busy - before.busy - own) / passed
        return {"others": round(min(float(self._cores), max(0.0, others)), 2), "cores": float(self._cores)}


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
