"""What the worker has that would take a training: asked by the form, by the start of a run and by the command line."""

from typing import Any

from redis.exceptions import RedisError

from slmstudio import workers
from slmstudio.hardware import Hardware


def gpu_hardware() -> Hardware | None:
    """The ``Hardware`` of a live worker of the queue ``gpu``; None where nobody listens, or the queue is away."""
    try:
        return workers.hardware_of("gpu")
    except RedisError:
        return None


def abilities() -> dict[str, Any]:
    """``abilities_of`` the worker that would take a run."""
    return abilities_of(gpu_hardware())


def abilities_of(hardware: Hardware | None) -> dict[str, Any]:
    """What ``presets.problems`` asks about a machine: ``cuda``, how many ``gpus``, which packages are ``missing``."""
    if hardware is None:
        return {"cuda": False, "gpus": 1, "missing": frozenset()}
    return {"cuda": bool(hardware.gpus), "gpus": max(1, len(hardware.gpus)), "missing": hardware.missing}
