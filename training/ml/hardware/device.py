"""Device, threads, precision, memory, and the environment of a run."""

import math
import os
import resource
import time
from functools import cache
from typing import Any

import torch

from slmstudio.workers.hardware import allowed_cores, host_environment, peak_resident_bytes, this_machine

_PACKAGES = (
    "torch", "transformers", "peft", "trl", "datasets", "accelerate", "tokenizers", "safetensors", "llguidance",
    "numpy", "bitsandbytes", "tensorboard", "wandb",
)  # fmt: skip
#: minimum speedup of bf16 over fp32; without one it only rounds more
MIN_BF16_SPEEDUP = 1.1


def world_size() -> int:
    """Number of processes of this run, as set by ``accelerate launch``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def pick_device() -> torch.device:
    """CUDA where it is there, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_threads() -> int:
    """One thread for each core this process may use; OMP_NUM_THREADS wins. Returns the number."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(allowed_cores()))
    return int(torch.get_num_threads())


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware, and faster than fp32.

    A CPU with the instructions can be half or twice as fast as in fp32 (both occur with the same AVX-512 flags), so
    matrix products are timed.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Processes of one run must agree, and each would time separately, next to the others.
    return _has_bf16() and world_size() == 1 and _bf16_speedup() > MIN_BF16_SPEEDUP


def _has_bf16() -> bool:
    capability = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else ""
    return capability.startswith("AVX512") and torch.ops.mkldnn._is_mkldnn_bf16_supported() and _cpu_flag("avx512_bf16")


@cache
def _bf16_speedup() -> float:
    """The speedup of bf16 over fp32 on this CPU; takes some 0.1 s, once per process.

    The minimum of several times counts: other processes only increase them.
    """
    best: dict[torch.dtype, float] = {}
    for _ in range(5):
        for dtype in (torch.float32, torch.bfloat16):
            left, right = torch.ones(512, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
            left @ right  # the first product compiles kernels
            started = time.perf_counter()
            left @ right
            best[dtype] = min(best.get(dtype, math.inf), time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]


def _cpu_flag(name: str) -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return any(line.startswith("flags") and name in line.split() for line in file)
    except OSError:
        return False


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` as bf16 where the device is faster at it, else fp32; anything else as it is.

    On a CPU timing decides, so a reproducible run must name the resolved precision.
    """
    if precision != "auto":
        return precision
    return "bf16" if fast_bf16(device) else "fp32"


def memory_bytes(device: torch.device) -> int:
    """Peak memory of this process on the device, in bytes (resident set on a CPU)."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_resident_bytes()


def memory_limit(device: torch.device) -> int | None:
    """Bytes that this process can use: of the GPU, or of the machine, container or process limit."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [this_machine().memory_bytes]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and hardware that a run depends on, besides its spec and dataset."""
    described = {
        **host_environment(_PACKAGES),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "devices": world_size(),
        "threads": torch.get_num_threads(),
        "precision": precision,
    }
    if device.type == "cuda":
        described["gpu"] = torch.cuda.get_device_name(device)
        described["gpu_memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
        described["cuda"] = torch.version.cuda
    return described
