"""The memory limit of a run."""

import resource

import torch

from slmstudio.workers.hardware import this_machine


def memory_limit(device: torch.device) -> int | None:
    """Bytes that this process can use: of the GPU, or of the machine, container or process limit."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [this_machine().memory_bytes]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)
