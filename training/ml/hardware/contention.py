"""Shared cores: a child process spins while the cores are free, and makes room while other processes use them.

OpenMP threads that spin between two matrix products make training a quarter faster on an idle machine, and many times
slower next to one busy process. So the load of the cores is watched, and two things change with it:

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

#: seconds between two looks at the cores
PERIOD_SECONDS = 0.5
#: cores that other processes use from which on spinning costs more than it gains
CONTENDED = 0.25
#: what has to be used of a core until it is left to the others
TAKEN = 0.6
#: periods in a row after which less is left to the others
CALM_PERIODS = 4
_TASKS = Path("/proc/self/task")
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


@dataclass(frozen=True)
class Load:
    """Cores in use over some time: by this process, and by others (what a hypervisor takes away counts as theirs).

    ``idle``: the numbers of the cores that were free for more than half of the time.
    """

    own: float
    others: float
    idle: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Usage:
    """Processor seconds up to a moment (``at``, of the monotonic clock): of this process (``own``), and of all
    processes on each core that this one may use.
    """

    at: float
    own: float
    cores: Mapping[int, float]

    def load_since(self, before: "Usage") -> Load:
        """What was used since ``before``."""
        seconds = max(self.at - before.at, 1e-6)
        own = max(0.0, self.own - before.own)
        used = {core: spent - before.cores.get(core, spent) for core, spent in self.cores.items()}
        idle = frozenset(core for core, spent in used.items() if spent < seconds / 2)
        return Load(own / seconds, max(0.0, sum(used.values()) - own) / seconds, idle)


def usage() -> Usage:
    """The processor time used so far."""
    times = enumerate(psutil.cpu_times(percpu=True))
    cores = {core: sum(getattr(spent, name, 0.0) for name in _BUSY) for core, spent in times if core in allowed_cores()}
    return Usage(time.monotonic(), time.process_time(), cores)


@dataclass(frozen=True)
class Room:
    """How much room is made. ``level`` 0: threads that wait spin; 1: they sleep; from 2 on ``level - 1`` cores are left
    to others as well. ``calm``: periods in a row that asked for less.
    """

    level: int = 0
    calm: int = 0

    def after(self, others: float) -> "Room":
        """What follows from a period in which other processes used so many cores.

        One period is enough to make more room, since spinning costs several times what it gains. ``CALM_PERIODS`` of
        them are needed to make less.
        """
        wanted = 0 if others < CONTENDED else 1 + int(others + 1 - TAKEN)
        if wanted >= self.level:
            return Room(wanted)
        return Room(wanted) if self.calm + 1 >= CALM_PERIODS else Room(self.level, self.calm + 1)

    @property
    def cores_left(self) -> int:
        """Cores that are left to others."""
        return max(0, self.level - 1)


class SleepingTeam:
    """A team of OpenMP threads that do nothing: while it is there, threads that wait sleep at once."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._there, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, name="sleeping-team", daemon=True)

    def start(self) -> None:
        """Returns when the team is there."""
        self._thread.start()
        self._there.wait()

    def end(self) -> None:
        """Returns when the team is gone: it ends with the thread that started it."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        # One region of more threads than there are cores, each of which calls free(NULL), without a lock of Python's.
        # The entry point is part of libgomp's ABI ("Implementing PARALLEL construct").
        nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)
        self._library.GOMP_parallel(nothing, None, ctypes.c_uint(len(allowed_cores()) + 1), ctypes.c_uint(0))
        self._there.set()
        self._over.wait()


class Watcher(threading.Thread):
    """Watches the cores and makes room."""

    def __init__(
        self,
        read: Callable[[], Usage] = usage,
        *,
        threads: int | None = None,
        period: float = PERIOD_SECONDS,
        on_change: Callable[[Room], None] = lambda room: None,
    ) -> None:
        """``threads``: those that compute; None: one for each core. ``on_change`` is called in this thread."""
        super().__init__(name="shared-cores", daemon=True)
        self._read, self._period, self._on_change = read, period, on_change
        #: cores that are of no use to this process
        self._spare = len(allowed_cores()) - (threads or len(allowed_cores()))
        self._team: SleepingTeam | None = None

    def run(self) -> None:
        """Until the process ends."""
        room, used = Room(), self._read()
        while True:
            time.sleep(self._period)
            used_before, used = used, self._read()
            load = used.load_since(used_before)
            library = _libgomp()
            if library is None:
                continue  # it counts the cores when it is loaded
            level, room = room.level, room.after(load.others - self._spare)
            if room.level != level:
                self._wait_asleep(library, room.level > 0)
                confine(_chosen(room.cores_left, load.idle))
                self._on_change(room)
            # Another process that makes room may have come to the same core; of two, one should move.
            elif room.cores_left and load.idle and random.random() < 0.5:
                confine(_chosen(room.cores_left, load.idle))

    def _wait_asleep(self, library: ctypes.CDLL, asleep: bool) -> None:
        if asleep and self._team is None:
            self._team = SleepingTeam(library)
            self._team.start()
        elif not asleep and self._team is not None:
            self._team.end()
            self._team = None


def make_room() -> None:
    """Starts watching, where threads of this process may be kept from spinning (``CHILD_ENVIRONMENT``) and there is
    more than one of them.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    spins = os.environ.get("GOMP_SPINCOUNT", "0") != "0"
    wanted = int(threads) if threads.isdigit() else len(allowed_cores())
    if spins and os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive" and wanted > 1:
        Watcher(threads=min(wanted, len(allowed_cores()))).start()


def _chosen(left: int, idle: frozenset[int]) -> frozenset[int]:
    """The cores to compute on where so many are ``left`` to others: idle ones first, at least one."""
    every = sorted(allowed_cores(), key=lambda core: (core not in idle, random.random()))
    return frozenset(every[: max(1, len(every) - left)])


def confine(cores: frozenset[int]) -> None:
    """Has all threads of this process run on these cores."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for task in _TASKS.iterdir():
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(task.name), cores)


def _libgomp() -> ctypes.CDLL | None:
    """The runtime that torch or llama.cpp has loaded; None where it is not there (yet), or another one is."""
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except (OSError, AttributeError):
        return None
