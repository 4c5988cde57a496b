"""Load and memory of NVIDIA GPUs now."""

import contextlib
import logging
from typing import Any

logger = logging.getLogger(__name__)


def gpus(nvml: Any = None) -> list[dict[str, Any]]:
    """Id, name, load (0 to 1) and memory of each NVIDIA GPU; none without a driver. ``nvml``: the module, for tests.

    Opened and closed each time, so that no fork inherits it.
    """
    if nvml is None:
        try:
            import pynvml
        except ImportError:
            return []
        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return []
    try:
        return [_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        logger.warning("the GPUs cannot be read: %s", error)
        return []
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, card: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": str(nvml.nvmlDeviceGetName(card)), "load": None, "memory_bytes": None, "used_bytes": None
    }  # fmt: skip
    with contextlib.suppress(nvml.NVMLError):  # a part of a GPU reports no load
        values["load"] = nvml.nvmlDeviceGetUtilizationRates(card).gpu / 100
    with contextlib.suppress(nvml.NVMLError):
        memory = nvml.nvmlDeviceGetMemoryInfo(card)
        values |= {"memory_bytes": int(memory.total), "used_bytes": int(memory.used)}
    return values
