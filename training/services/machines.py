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
    """What ``presets.problems`` asks about a machine: ``cuda``, and how many ``gpus``."""
    hardware = gpu_hardware()
    gpus = len(hardware.gpus) if hardware is not None else 0
    return {"cuda": gpus > 0, "gpus": max(1, gpus)}
