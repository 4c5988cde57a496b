"""The memory that a run can use, with its safety margin, and the limit of production hardware. Pure."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

#: bytes of the production hardware where a project's contract names none
DEFAULT_MEMORY_LIMIT = 16_000_000_000
#: share of a machine's memory that a run can use; the rest is left to the system
USABLE_SHARE = 0.92


def usable_memory(hardware: "Hardware | None") -> tuple[int | None, str]:
    """Bytes that a run can use on each of its devices, and the name of that memory; None without hardware."""
    if hardware is None:
        return None, ""
    if hardware.gpus:
        gpu = min(hardware.gpus, key=lambda one: one.memory_bytes)
        return int(gpu.memory_bytes * USABLE_SHARE), f"{gpu.name} of {hardware.host}"
    return int(hardware.memory_bytes * USABLE_SHARE), f"memory of {hardware.host}"
