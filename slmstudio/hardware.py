"""What a machine has: processor, memory, graphics cards. Plain Python: no torch, no Django.

NVIDIA's cards are read through NVML, which comes with the driver; where there is none, there are no cards.
"""

import platform
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

#: flags of /proc/cpuinfo with which a processor multiplies bf16 in hardware
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Gpu:
    """One graphics card. Memory in bytes; ``used_bytes`` is None where the driver does not tell."""

    index: int
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int | None = None


@dataclass(frozen=True)
class Hardware:
    """One machine. ``bf16``: its processor multiplies bf16 in hardware. ``cores`` are those this process may use."""

    host: str
    processor: str
    cores: int
    memory_bytes: int
    available_bytes: int
    gpus: tuple[Gpu, ...]
    bf16: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "gpus": [asdict(gpu) for gpu in self.gpus]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Hardware":
        """What ``as_dict`` gave.

        Raises:
            KeyError, TypeError: a value is missing, or is not one of ours.
        """
        return cls(**{**values, "gpus": tuple(Gpu(**gpu) for gpu in values["gpus"])})


def this_machine() -> Hardware:
    """The machine of this process, as it is now."""
    processor, flags = _processor()
    memory = psutil.virtual_memory()
    return Hardware(
        host=socket.gethostname(),
        processor=processor,
        cores=_cores(),
        memory_bytes=min(memory.total, _container_limit() or memory.total),
        available_bytes=memory.available,
        gpus=_gpus(),
        bf16=bool(flags & _BF16_FLAGS),
    )


def _cores() -> int:
    try:
        return len(psutil.Process().cpu_affinity() or ()) or psutil.cpu_count() or 1
    except (AttributeError, psutil.Error):  # macOS knows no affinity
        return psutil.cpu_count() or 1


@cache
def _processor() -> tuple[str, frozenset[str]]:
    """Name and flags of the processor; without /proc/cpuinfo what Python knows, and no flags."""
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
    """Bytes that a control group leaves this process, where one does: a container sees the whole machine otherwise."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def _gpus() -> tuple[Gpu, ...]:
    """The cards NVML knows; none without a driver. Opened and closed each time, so that a fork never inherits it."""
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def _gpu(nvml: Any, index: int) -> Gpu:
    card = nvml.nvmlDeviceGetHandleByIndex(index)
    used: int | None
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(card)
        total, used = int(memory.total), int(memory.used)
    except nvml.NVMLError:  # cards that share the machine's memory
        total, used = psutil.virtual_memory().total, None
    return Gpu(index, str(nvml.nvmlDeviceGetUUID(card)), str(nvml.nvmlDeviceGetName(card)), total, used)
