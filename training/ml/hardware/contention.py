"""CPU contention: OpenMP threads spin while the cores are idle, and yield while other processes use them.

Threads that spin between two matrix products make training a quarter faster on an idle machine, and many times slower
next to one busy process. So the load of the cores is monitored, and two things change with it:

- Waiting. GNU's runtime reads its spin count once, but while a process has more OpenMP threads than cores it uses
  another one, which is 0 with ``OMP_WAIT_POLICY=passive`` (GCC's manual of libgomp, GOMP_SPINCOUNT). A second team of
  threads, which only sleep, turns spinning off, and its end turns it on.
- Cores. Threads that share out a product wait for the slowest of them, the one whose core another process uses as well.
  They are confined to the cores that are left, and the others run undisturbed.

The threads that compute stay as many as they were, and so do the results, to the last bit.
"""

import ctypes
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from slmstudio.workers.hardware import allowed_cores

#: seconds between two measurements of the load
PERIOD_SECONDS = 0.5
#: load of other processes, in cores, above which spinning costs more than it gains
CONTENDED_CORES = 0.25
#: share of a core in use above which it is left to other processes
TAKEN_SHARE = 0.6
#: calm periods in a row before yielding less
CALM_PERIODS = 4
_TASKS = Path("/proc/self/task")
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass(frozen=True)
class CpuLoad:
    """Cores in use over a period: by this process, and by others (including time stolen by a hypervisor).

    ``idle``: the numbers of the cores that were idle for more than half of the period.
    """

    own: float
    others: float
    idle: frozenset[int] = frozenset()


@dataclass(frozen=True)
class CpuUsage:
    """Processor seconds up to a moment (``at``, of the monotonic clock): of this process (``own``), and of all
    processes on each core that this one may use.
    """

    time: float
    own: float
    cores: Mapping[int, float]

    def load_since(self, before: "CpuUsage") -> CpuLoad:
        """The load since ``before``."""
        seconds = max(self.time - before.time, 1e-6)
        own = max(0.0, self.own - before.own)
        used = {core: spent - before.cores.get(core, spent) for core, spent in self.cores.items()}
        idle = frozenset(core for core, spent in used.items() if spent < seconds / 2)
        return CpuLoad(own / seconds, max(0.0, sum(used.values()) - own) / seconds, idle)


def cpu_usage() -> CpuUsage:
    """The CPU time used so far."""
    times = enumerate(psutil.cpu_times(percpu=True))
    cores = {core: sum(getattr(spent, name, 0.0) for name in _BUSY) for core, spent in times if core in allowed_cores()}
    return CpuUsage(time.monotonic(), time.process_time(), cores)


@dataclass(frozen=True)
class YieldLevel:
    """How much this process yields. ``level`` 0: waiting threads spin; 1: they sleep; from 2 on ``level - 1`` cores
    are left to others as well. ``calm``: periods in a row with a lower target.
    """

    level: int = 0
    calm: int = 0

    def after(self, others: float) -> "YieldLevel":
        """The level after a period in which other processes used this many cores.

        One period is enough to yield more, since spinning costs several times what it gains; ``CALM_PERIODS`` are
        needed to yield less.
        """
        target = 0 if others < CONTENDED_CORES else 1 + int(others + 1 - TAKEN_SHARE)
        if target >= self.level:
            return YieldLevel(target)
        return YieldLevel(target) if self.calm + 1 >= CALM_PERIODS else YieldLevel(self.level, self.calm + 1)

    @property
    def yielded_cores(self) -> int:
        """Cores left to other processes."""
        return max(0, self.level - 1)


class IdleThreadTeam:
    """A team of idle OpenMP threads: while it exists, waiting threads sleep immediately."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._there, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, name="sleeping-team", daemon=True)

    def start(self) -> None:
        """Returns when the team exists."""
        self._thread.start()
        self._there.wait()

    def end(self) -> None:
        """Returns when the team has ended, with the thread that started it."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        # One region of more threads than there are cores, each of which calls free(NULL), without a lock of Python's.
        # The entry point is part of libgomp's ABI ("Implementing PARALLEL construct").
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(len(allowed_cores()) + 1), ctypes.c_uint(0))
        self._there.set()
        self._over.wait()


class ContentionMonitor(threading.Thread):
    """Monitors the cores and yields them."""

    def __init__(
        self,
        read: Callable[[], CpuUsage] = cpu_usage,
        *,
        threads: int | None = None,
        period: float = PERIOD_SECONDS,
        on_change: Callable[[YieldLevel], None] = lambda level: None,
    ) -> None:
        """``threads``: computing threads; None: one per core. ``on_change`` is called in this thread."""
        super().__init__(name="shared-cores", daemon=True)
        self._read, self._period, self._on_change = read, period, on_change
        #: cores that this process does not use
        self._spare = len(allowed_cores()) - (threads or len(allowed_cores()))
        self._team: IdleThreadTeam | None = None

    def run(self) -> None:
        """Runs until the process ends."""
        yielding, used = YieldLevel(), self._read()
        while True:
            time.sleep(self._period)
            used_before, used = used, self._read()
            load = used.load_since(used_before)
            library = _libgomp()
            if library is None:
                continue  # it counts the cores when it is loaded
            level, yielding = yielding.level, yielding.after(load.others - self._spare)
            if yielding.level != level:
                self._set_idle_team(library, yielding.level > 0)
                confine(_cores_to_use(yielding.yielded_cores, load.idle))
                self._on_change(yielding)
            # Another yielding process may use the same core; of two, one should move.
            elif yielding.yielded_cores and load.idle and random.random() < 0.5:
                confine(_cores_to_use(yielding.yielded_cores, load.idle))

    def _set_idle_team(self, library: ctypes.CDLL, asleep: bool) -> None:
        if asleep and self._team is None:
            self._team = IdleThreadTeam(library)
            self._team.start()
        elif not asleep and self._team is not None:
            self._team.end()
            self._team = None


def start_yielding() -> None:
    """Starts monitoring, where this process has several threads that spin (``cpu_settings``)."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    spins = os.environ.get("GOMP_SPINCOUNT", "0") != "0"
    count = int(threads) if threads.isdigit() else len(allowed_cores())
    if spins and os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" and count > 1:
        ContentionMonitor(threads=min(count, len(allowed_cores()))).start()


def _cores_to_use(left: int, idle: frozenset[int]) -> frozenset[int]:
    """The cores to compute on when ``left`` are left to others: idle ones first, at least one."""
    every = sorted(allowed_cores(), key=lambda core: (core not in idle, random.random()))
    return frozenset(every[: max(1, len(every) - left)])


def confine(cores: frozenset[int]) -> None:
    """Confines all threads of this process to these cores."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for task in _TASKS.iterdir():
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(task.name), cores)


def _libgomp() -> ctypes.CDLL | None:
    """The libgomp that torch or llama.cpp has loaded; None where it is not loaded (yet)."""
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except (OSError, AttributeError):
        return None
