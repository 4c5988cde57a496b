"""The hardware of a machine: processor, memory, GPUs. Plain Python: no torch, no Django.

NVIDIA GPUs are read through NVML, which comes with the driver; without a driver there are no GPUs.
"""

import logging
import os
import platform
import resource
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

logger = logging.getLogger(__name__)
#: flags of /proc/cpuinfo of processors that multiply bf16 in hardware
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
#: packages that no requirements file installs and that some trainings need
OPTIONAL = ("bitsandbytes", "wandb")
#: a program that sets its CPU affinity to its first argument and executes the command in the others
_ON_CORES = (
    "import os, sys; os.sched_setaffinity(0, map(int, sys.argv[1].split(','))); os.execvp(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Gpu:
    """One GPU. Memory in bytes, ``load`` from 0 to 1; ``used_bytes`` and ``load``: None if unknown."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int | None = None
    load: float | None = None


@dataclass(frozen=True)
class Hardware:
    """One machine. ``bf16``: its processor multiplies bf16 in hardware. ``cores`` are those this process may use.

    ``packages``: those of ``OPTIONAL`` that are installed there; None if unknown.
    """

    host: str
    processor: str
    cores: int
    memory_bytes: int
    available_bytes: int
    gpus: tuple[Gpu, ...]
    bf16: bool
    packages: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        """The hardware that determines its speed: two machines with the same text are equally fast."""
        return self.gpus[0].name if self.gpus else f"{self.processor}, {self.cores} cores"

    @property
    def missing(self) -> frozenset[str]:
        """The packages of ``OPTIONAL`` that are known to be missing."""
        return frozenset() if self.packages is None else frozenset(OPTIONAL) - set(self.packages)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "gpus": [asdict(gpu) for gpu in self.gpus]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Hardware":
        """The machine from the output of ``as_dict``.

        Raises:
            KeyError, TypeError: a value is missing or unknown.
        """
        gpus = tuple(Gpu(**gpu) for gpu in values["gpus"])
        packages = values.get("packages")
        return cls(**{**values, "gpus": gpus, "packages": None if packages is None else tuple(packages)})


def this_machine() -> Hardware:
    """The machine of this process, as it is now."""
    processor, flags = _processor()
    memory = psutil.virtual_memory()
    return Hardware(
        host=socket.gethostname(),
        processor=processor,
        cores=len(allowed_cores()),
        memory_bytes=min(memory.total, _container_limit() or memory.total),
        available_bytes=memory.available,
        gpus=gpus(),
        bf16=bool(flags & _BF16_FLAGS),
        packages=tuple(name for name in OPTIONAL if find_spec(name) is not None),
    )


def host_environment(packages: Iterable[str]) -> dict[str, Any]:
    """What the results of a process on this machine depend on: Python, system, processor, cores, memory in bytes, and
    the versions of those of the ``packages`` that are installed."""
    hardware = this_machine()
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": hardware.processor,
        "cores": hardware.cores,
        "memory_bytes": hardware.memory_bytes,
        "packages": versions,
    }


def peak_resident_bytes() -> int:
    """The peak resident memory of this process.

    Linux reports it for this process alone in its status (proc_pid_status(5), ``VmHWM``); getrusage(2) is used
    elsewhere, because on Linux a process inherits that figure from its parent.
    """
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes(pid: int, *, with_descendants: bool = True) -> int:
    """The resident memory of a process and its descendants; 0 if it has ended."""
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [process, *(process.children(recursive=True) if with_descendants else [])]:
            with suppress(psutil.Error):
                total += member.memory_info().rss
    return total


@cache
def allowed_cores() -> frozenset[int]:
    """The numbers of the cores that this process was started with: ``training.ml.hardware.contention`` may leave some
    of them to other processes for a while.
    """
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))  # macOS has no CPU affinity


def on_allowed_cores(command: list[str]) -> list[str]:
    """A command that runs on all of ``allowed_cores``, whatever the current affinity of this process: a child inherits
    that, and nothing would reset it."""
    if not hasattr(os, "sched_setaffinity"):
        return command
    cores = ",".join(map(str, sorted(allowed_cores())))
    return [sys.executable, "-S", "-c", _ON_CORES, cores, *command]


@cache
def _processor() -> tuple[str, frozenset[str]]:
    """Name and flags of the processor; without /proc/cpuinfo Python's name of it, and no flags."""
    name, flags = "", frozenset[str]()
    try:
        text = _CPUINFO.read_text(errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "model name" and not name:
            name = value
        elif key in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
        elif not line.strip() and flags:
            break  # the other cores are the same
    return name or platform.processor() or platform.machine(), flags


@cache
def _container_limit() -> int | None:
    """The memory limit of this process's control group in bytes, if it has one: a container sees the whole machine."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


@contextmanager
def _driver(nvml: Any = None) -> Iterator[Any]:
    """NVML while the block runs; None without a driver. Closed each time, so that no fork inherits it."""
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            yield None
            return
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """The NVIDIA GPUs as they are now; none without a driver. ``nvml``: the module, for tests."""
    with _driver(nvml) as driver:
        if driver is None:
            return ()
        try:
            handles = [driver.nvmlDeviceGetHandleByIndex(index) for index in range(driver.nvmlDeviceGetCount())]
            return tuple(_gpu(driver, handle, index) for index, handle in enumerate(handles))
        except driver.NVMLError as error:
            logger.warning("the GPUs cannot be read: %s", error)
            return ()


def mig_device(uuid: str, index: int) -> Gpu | None:
    """A part of a GPU (MIG) by its id; ``index`` is the index it gets. None if the driver does not know it."""
    with _driver() as driver:
        if driver is None:
            return None
        try:
            return _gpu(driver, driver.nvmlDeviceGetHandleByUUID(uuid), index)
        except driver.NVMLError:
            return None


def _gpu(nvml: Any, handle: Any, index: int) -> Gpu:
    used = load = None
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        total, used = int(memory.total), int(memory.used)
    except nvml.NVMLError:  # GPUs that share the machine's memory
        total = psutil.virtual_memory().total
    with suppress(nvml.NVMLError):  # a part of a GPU reports no load
        load = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    return Gpu(index, str(nvml.nvmlDeviceGetUUID(handle)), str(nvml.nvmlDeviceGetName(handle)), total, used, load)
