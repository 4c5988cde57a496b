"""Memory, time and disk of a training run before it starts, and what to change where it does not fit. Pure.

The memory model is in ``memory``, the search for settings that fit in ``reduction``.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slmstudio.text.formatting import duration, format_bytes, percent
from training.estimates.memory import (
    CUDA,
    DEFAULT_MEMORY_LIMIT,
    MemoryPart,
    inference_memory,
    trained_parameters,
    usable_memory,
)
from training.estimates.reduction import Requirements, memory_problems
from training.estimates.throughput import STARTUP_SECONDS, estimate_source, estimated_throughput
from training.hyperparameters.definitions import Hyperparameters
from training.model_shape import ModelShape

if TYPE_CHECKING:
    from slmstudio.workers.hardware import Hardware

#: tokens of a request where nothing is measured
TYPICAL_TOKENS = 1024
#: how full windows are, and how many more tokens they have than their document because they overlap
_WINDOW_FILLED, _WINDOW_OVERHEAD = 0.75, 1.15


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated costs of a run, for the device that needs the most.

    ``memory_limit``: bytes that the run can use there; None where no worker has reported its hardware. ``seconds`` is
    None where the throughput is unknown; ``seconds_from`` names its source, as the end of a sentence. ``largest_part``:
    title of the largest part of the memory. ``problems``: hyperparameter -> message; empty where the run fits or the
    limit is unknown. ``suggestions``: hyperparameter -> value that the message suggests.
    """

    memory_bytes: int
    parts: tuple[MemoryPart, ...] = ()
    memory_limit: int | None = None
    limit_name: str = ""
    seconds: float | None = None
    seconds_from: str = ""
    steps: int = 0
    tokens: int = 0
    disk_bytes: int = 0
    largest_part: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    suggestions: dict[str, Any] = field(default_factory=dict)

    @property
    def fits(self) -> bool | None:
        """None where the limit is unknown."""
        return None if self.memory_limit is None else not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for ``TrainingRun.estimate``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Estimate | None":
        """The estimate that ``as_dict`` gave; None where there is none (a run of an older version)."""
        if "memory_bytes" not in values:
            return None
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        return cls(**{**known, "parts": tuple(MemoryPart(**part) for part in known.get("parts", []))})


@dataclass(frozen=True)
class Fit:
    """Whether a model can be served on the production hardware. ``fits`` is None where its shape is unknown."""

    memory_bytes: int
    fits: bool | None
    sentence: str


def fit(shape: ModelShape | None, *, limit_bytes: int = DEFAULT_MEMORY_LIMIT, tokens: int = TYPICAL_TOKENS) -> Fit:
    """Whether the model serves one request of ``tokens`` in 16 bits within ``limit_bytes``."""
    if shape is None:
        return Fit(0, None, "Size unknown until the model is prepared.")
    needed = inference_memory(shape, precision="bf16", tokens=tokens)
    if needed <= limit_bytes:
        return Fit(needed, True, f"{format_bytes(needed)} of {format_bytes(limit_bytes)}")
    return Fit(needed, False, f"Needs {format_bytes(needed)}; {format_bytes(limit_bytes)} available.")


def estimate(
    *,
    shape: ModelShape,
    hyperparameters: Hyperparameters,
    lengths: list[int],
    hardware: "Hardware | None",
    speed: float | None = None,
    speed_from: str = "",
    answer: int = 0,
    spans: int = 0,
    disk_free: int | None = None,
) -> Estimate:
    """Memory, time and disk of a run over training rows of ``lengths`` tokens.

    ``speed``: measured tokens per second for these hyperparameters; without it, the throughput is estimated from the
    model's size and the hardware. ``answer``: tokens of the longest completion. ``spans``: span heads of an encoder.
    ``disk_free``: free bytes where the run writes. Rows over ``max_length`` count as windows, or as dropped where the
    run drops them.
    """
    kept = trained_lengths(lengths, hyperparameters) or [hyperparameters.max_length]
    needs = Requirements(shape, hardware, kept, min(kept), max(kept), answer, spans)
    parts = needs.parts(hyperparameters)
    total = sum(part.bytes for part in parts)
    limit, name = usable_memory(hardware)
    tokens = round(sum(kept) * hyperparameters.epochs)
    if not speed and hardware is not None:
        speed = estimated_throughput(shape, hyperparameters, hardware, sum(kept) / len(kept))
        speed_from = estimate_source(hardware)
    disk = disk_bytes(shape, hyperparameters)
    problems, suggestions = dict[str, str](), dict[str, Any]()
    if limit is not None and total > limit:
        problems, suggestions = memory_problems(needs, hyperparameters, total, limit, name)
    if disk_free is not None and disk > disk_free:
        problems["disk"] = _disk_message(shape, hyperparameters, disk, disk_free)
    return Estimate(
        memory_bytes=total,
        parts=parts,
        memory_limit=limit,
        limit_name=name,
        seconds=tokens / speed + STARTUP_SECONDS if speed else None,
        seconds_from=speed_from if speed else "",
        steps=hyperparameters.steps(len(kept)),
        tokens=tokens,
        disk_bytes=disk,
        largest_part=parts[0].title,
        problems=problems,
        suggestions=suggestions,
    )


def trained_lengths(lengths: list[int], hyperparameters: Hyperparameters) -> list[int]:
    """The lengths of the rows that a run trains on: a row over the limit is about so many windows as it takes to have
    its tokens in windows that are three quarters full and overlap; one of them may be full.
    """
    limit = hyperparameters.max_length
    if hyperparameters.too_long != "windows":
        return [length for length in lengths if length <= limit]
    trained: list[int] = []
    for length in lengths:
        count = 1 if length <= limit else math.ceil(length * _WINDOW_OVERHEAD / (_WINDOW_FILLED * limit))
        trained += [length] if count == 1 else [limit, *[round(_WINDOW_FILLED * limit)] * (count - 1)]
    return trained


def disk_bytes(shape: ModelShape, hyperparameters: Hyperparameters) -> int:
    """Bytes that a run writes: its checkpoints at their peak, the adapter, and the merged model, both twice where it
    keeps best and last.

    The newest two checkpoints are kept while another is written, and the best one where its weights may be kept.
    """
    trained = trained_parameters(shape, hyperparameters.method, hyperparameters)
    adapter = 0 if hyperparameters.method == "full" else 4 * trained
    # fp32 weights, the two moments of AdamW, and the averaged weights
    checkpoint = (12 if hyperparameters.weight_averaging == "none" else 16) * trained
    both = hyperparameters.keep_best_and_last
    best = both or hyperparameters.early_stopping or hyperparameters.best_metric == "field_accuracy"
    return (4 if best else 3) * checkpoint + (2 if both else 1) * (adapter + 2 * shape.parameters)


def _disk_message(shape: ModelShape, hyperparameters: Hyperparameters, disk: int, free: int) -> str:
    lora = disk_bytes(shape, replace(hyperparameters, method="lora"))
    helps = hyperparameters.method == "full" and lora <= free
    advice = f"LoRA writes {format_bytes(lora)}." if helps else "Free some space first."
    return f"The run writes about {format_bytes(disk)}, checkpoints included; {format_bytes(free)} is free. {advice}"


def accuracy_lines(estimate: Estimate, facts: dict[str, Any]) -> list[str]:
    """The estimate of a run next to what it measured (``peak_memory_bytes``, ``seconds`` of all attempts), for memory
    and time where both are known: "memory: estimated 9.1 GB, measured 8.4 GB, 8% too high".

    The trainer's clock starts when data and model are loaded, so the startup time is taken off the estimate.
    """
    memory = estimate.memory_bytes - (CUDA.process if facts.get("device") == "cuda" else 0)
    seconds = (estimate.seconds or 0.0) - STARTUP_SECONDS
    lines = []
    for name, estimated, measured, text in (
        ("memory", memory, facts.get("peak_memory_bytes"), format_bytes),
        ("time", seconds, facts.get("seconds"), duration),
    ):
        if measured and estimated > 0:
            share = round(estimated / measured - 1, 2)
            off = f"{percent(abs(share), 0)} too {'high' if share > 0 else 'low'}" if share else "as estimated"
            lines.append(f"{name}: estimated {text(estimated)}, measured {text(measured)}, {off}")
    return lines
