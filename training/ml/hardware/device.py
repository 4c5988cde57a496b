"""The machine: device, threads, precision, memory, and what has to be known to repeat a run."""

import math
import os
import platform
import time
from functools import cache
from importlib import metadata
from typing import Any

import torch

from slmstudio.workers.hardware import allowed_cores, peak_resident_bytes, this_machine

_PACKAGES = (
    "torch", "transformers", "peft", "trl", "datasets", "accelerate", "tokenizers", "safetensors", "llguidance",
    "numpy", "bitsandbytes", "tensorboard", "wandb",
)  # fmt: skip
#: times that bf16 has to be as fast as fp32; what is no faster only rounds more
_WORTH = 1.1


def pick_device() -> torch.device:
    """CUDA where it is there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads() -> int:
    """One thread for each core this process may use; OMP_NUM_THREADS wins. Returns the number."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(allowed_cores()))
    return torch.get_num_threads()


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware, and faster than fp32.

    A CPU that has the instructions may run them at half the speed of fp32 or at twice (both were seen behind the same
    AVX-512 flags), so its products are timed.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Processes of one run have to agree, and each would time for itself beside the others.
    return _has_bf16() and int(os.environ.get("WORLD_SIZE", "1")) == 1 and _bf16_gain() > _WORTH


def _has_bf16() -> bool:
    capability = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else ""
    return capability.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _cpu_flag("avx512_bf16")


@cache
def _bf16_gain() -> float:
    """How many times as fast as fp32 this CPU multiplies bf16; takes some 0.1 s, once in a process.

    The least of several times counts: what else is at work only ever adds to them.
    """
    least: dict[torch.dtype, float] = {}
    for _ in range(5):
        for dtype in (torch.float32, torch.bfloat16):
            left, right = torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
            left @ right  # kernels are made at the first product
            started = time.perf_counter()
            left @ right
            least[dtype] = min(least.get(dtype, math.inf), time.perf_counter() - started)
    return least[torch.float32] / least[torch.bfloat16]


def _cpu_flag(name: str) -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return any(line.startswith("flags") and name in line.split() for line in file)
    except OSError:
        return False


def resolve_precision(wanted: str, device: torch.device) -> str:
    """``auto`` as bf16 where the device is faster at it, else fp32; anything else as it is.

    On a CPU the clock decides, so a run that is to come out the same again has to name what ``auto`` came to.
    """
    if wanted != "auto":
        return wanted
    return "bf16" if fast_bf16(device) else "fp32"


def memory_bytes(device: torch.device) -> int:
    """Peak memory of this process on the device, in bytes (resident set on a CPU)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and hardware: what a run depends on beside its spec and its data."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    hardware = this_machine()
    described = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": hardware.processor,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": hardware.cores,
        "memory_bytes": hardware.memory_bytes,
        "device": device.type,
        "devices": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "packages": versions,
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
        described["gpu_memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
        described["cuda"] = torch.version.cuda
    return described
