"""What the worker has that would take a training: asked by the form, by the start of a run and by the command line."""

from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from slmstudio.workers import registry as worker_registry
from slmstudio.workers.hardware import Hardware
from training.models import TrainingRun


def gpu_hardware() -> Hardware | None:
    """The ``Hardware`` of a live worker of the queue ``gpu``; None where nobody listens, or the queue is away."""
    try:
        hardware = worker_registry.hardware_of("gpu")
    except RedisError:
        return None
    return as_timed(hardware) if hardware else None


def as_timed(hardware: Hardware) -> Hardware:
    """The machine, without bf16 where the last run that was free to choose found it no faster than fp32 there.

    A worker knows a CPU's flags, and those do not tell; runs time it.
    """
    if hardware.gpus or not hardware.bf16:
        return hardware
    runs: Any = TrainingRun.objects.filter(
        facts__machine=hardware.kind, facts__device="cpu", facts__precision__in=("bf16", "fp32")
    )
    runs = runs.filter(spec__contains="\nprecision: auto\n")
    last = runs.order_by("-pk").values_list("facts__precision", flat=True).first()
    return replace(hardware, bf16=False) if last == "fp32" else hardware


def abilities() -> dict[str, Any]:
    """``abilities_of`` the worker that would take a run."""
    return abilities_of(gpu_hardware())


def abilities_of(hardware: Hardware | None) -> dict[str, Any]:
    """What ``presets.problems`` asks about a machine: ``cuda``, how many ``gpus``, which packages are ``missing``."""
    if hardware is None:
        return {"cuda": False, "gpus": 1, "missing": frozenset()}
    return {"cuda": bool(hardware.gpus), "gpus": max(1, len(hardware.gpus)), "missing": hardware.missing}
