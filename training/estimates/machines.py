"""Hardware and capabilities of the worker that would train a run."""

from dataclasses import replace
from typing import Any

from redis.exceptions import RedisError

from slmstudio.workers import live_workers
from slmstudio.workers.hardware import Hardware
from training.models import TrainingRun


def gpu_hardware() -> Hardware | None:
    """The hardware of a live worker of the queue ``gpu``; None without a worker, or where the queue is unreachable."""
    try:
        hardware = live_workers.hardware_of("gpu")
    except RedisError:
        return None
    return with_measured_bf16(hardware) if hardware else None


def with_measured_bf16(hardware: Hardware) -> Hardware:
    """The hardware without bf16, where the last run with ``precision: auto`` measured that it is not faster than fp32.

    A worker reports the CPU's flags, which do not show its speed; runs measure it.
    """
    if hardware.gpus or not hardware.bf16:
        return hardware
    runs = TrainingRun.objects.filter(
        facts__machine=hardware.kind, facts__device="cpu", facts__precision__in=("bf16", "fp32")
    )
    runs = runs.filter(spec__contains="\nprecision: auto\n")
    last = runs.order_by("-pk").values_list("facts__precision", flat=True).first()
    return replace(hardware, bf16=False) if last == "fp32" else hardware


def capabilities() -> dict[str, Any]:
    """The capabilities of the worker that would train a run."""
    return capabilities_of(gpu_hardware())


def capabilities_of(hardware: Hardware | None) -> dict[str, Any]:
    """The machine for ``presets.problems``: ``cuda``, number of ``gpus``, ``missing`` packages."""
    if hardware is None:
        return {"cuda": False, "gpus": 1, "missing": frozenset()}
    return {"cuda": bool(hardware.gpus), "gpus": max(1, len(hardware.gpus)), "missing": hardware.missing}
