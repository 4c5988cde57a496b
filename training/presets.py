"""The knobs of a fine-tuning: what each may be, and the values that are right without touching anything. Pure."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

METHODS = ("lora", "qlora", "full")
SCHEDULERS = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRACKERS = ("tensorboard", "wandb")
TOO_LONG = ("refuse", "leave_out")
#: documents that go through the model at once where nobody says otherwise; the rest is accumulated
DEVICE_BATCH = 8


@dataclass(frozen=True)
class Knobs:
    """Everything a person chooses about a fine-tuning, besides the dataset and the base model.

    ``batch_size`` documents go through the model at once; ``accumulation`` of these make one step.
    """

    method: str = "lora"
    learning_rate: float = 1e-3
    epochs: float = 3.0
    batch_size: int = 8
    accumulation: int = 1
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0
    max_length: int = 1024
    seed: int = 17
    too_long: str = "refuse"
    warmup_ratio: float = 0.05
    scheduler: str = "cosine"
    precision: str = "auto"
    activation_checkpointing: bool = False
    devices: int = 1
    early_stopping: int | None = None
    trackers: tuple[str, ...] = ()

    @property
    def effective_batch(self) -> int:
        """Documents behind one step of the optimizer."""
        return self.batch_size * self.accumulation * self.devices

    def steps(self, rows: int) -> int:
        """Steps of the whole run over ``rows`` training documents."""
        return max(1, math.ceil(math.ceil(rows / self.effective_batch) * self.epochs)) if rows else 0


def preset(train_rows: int, method: str = "lora") -> Knobs:
    """The knobs for a training split of this size.

    Few documents need small batches and more passes, or the run ends after a handful of steps; many need fewer passes.
    Full fine-tuning moves every weight, so its steps are ten times smaller than an adapter's.
    """
    sizes = ((60, 2, 6.0), (400, 4, 3.0), (2000, 8, 3.0))
    batch, epochs = next(((batch, epochs) for limit, batch, epochs in sizes if train_rows <= limit), (16, 2.0))
    knobs = with_effective_batch(Knobs(epochs=epochs), batch)
    return replace(knobs, method="full", learning_rate=1e-4) if method == "full" else knobs


def with_effective_batch(knobs: Knobs, effective: int, at_once: int = DEVICE_BATCH) -> Knobs:
    """The knobs with this many documents behind a step, at most ``at_once`` of them through the model together."""
    batch = next((size for size in range(min(at_once, effective), 0, -1) if effective % size == 0), 1)
    return replace(knobs, batch_size=batch, accumulation=max(1, effective // batch))


def _outside(value: float, low: float, high: float) -> bool:
    return not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high)


def problems(knobs: Knobs, context: int = 0) -> dict[str, str]:
    """What is wrong with the knobs, as one sentence per knob; ``context`` is the model's, 0 where it is not known."""
    found: dict[str, str] = {}
    ranges: list[tuple[str, float, float, str]] = [
        ("max_length", 16, 32768, "The sequence length is between 16 and 32,768 tokens."),
        ("batch_size", 1, 512, "Between 1 and 512 documents go through the model at once."),
        ("accumulation", 1, 1024, "Between 1 and 1,024 batches make one step."),
        ("learning_rate", 1e-8, 0.1, "The learning rate is between 0.00000001 and 0.1; 0.001 suits LoRA."),
        ("epochs", 0.01, 100, "A run makes between 0.01 and 100 passes over the training documents."),
        ("lora_r", 1, 512, "The rank is between 1 and 512."),
        ("lora_alpha", 1, 2048, "Alpha is between 1 and 2,048; twice the rank is usual."),
        ("lora_dropout", 0, 0.9, "The dropout is between 0 and 0.9."),
        ("warmup_ratio", 0, 0.9, "The warm-up is a share of the run between 0 and 0.9."),
        ("seed", 0, 2**31 - 1, "The seed is a whole number between 0 and 2,147,483,647."),
    ]
    for name, low, high, sentence in ranges:
        if _outside(getattr(knobs, name), low, high):
            found[name] = sentence
    choices = [
        ("method", METHODS),
        ("scheduler", SCHEDULERS),
        ("precision", PRECISIONS),
        ("too_long", TOO_LONG),
    ]
    for name, allowed in choices:
        value = getattr(knobs, name)
        if value == "qlora":
            found[name] = "QLoRA needs a CUDA GPU and 4-bit kernels, which this installation does not have. Use LoRA."
        elif value not in allowed:
            found[name] = f"{value!r} is not one of {', '.join(allowed)}."
    if context and "max_length" not in found and knobs.max_length > context:
        found["max_length"] = f"The model reads at most {context:,} tokens; this asks for {knobs.max_length:,}."
    return found


_TITLES = {
    "method": "Method",
    "max_length": "Sequence length",
    "effective_batch": "Batch size",
    "learning_rate": "Learning rate",
    "epochs": "Epochs",
    "precision": "Precision",
    "activation_checkpointing": "Recompute activations",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "scheduler": "Scheduler",
    "warmup_ratio": "Warm-up",
    "too_long": "Too long",
    "seed": "Seed",
}
_FRONT = ("method", "max_length", "effective_batch", "learning_rate", "epochs", "precision")
_WORDS = {
    "lora": "LoRA adapter, merged",
    "full": "full fine-tuning",
    "auto": "automatic",
    "refuse": "refuse the run",
    "leave_out": "leave them out",
}


@dataclass(frozen=True)
class Line:
    """One knob in words; ``preset`` holds the preset's words where the run differs from it.

    ``front`` marks the knobs that matter most.
    """

    title: str
    words: str
    preset: str
    front: bool


def in_words(knobs: Knobs, usual: Knobs) -> list[Line]:
    """The knobs as a person reads them, with what the preset would have been where they differ."""
    lines = []
    for name, title in _TITLES.items():
        if name.startswith("lora_") and knobs.method != "lora":
            continue
        said, expected = _say(name, getattr(knobs, name), knobs), _say(name, getattr(usual, name), usual)
        lines.append(Line(title, said, "" if said == expected else expected, name in _FRONT))
    return lines


def _say(name: str, value: Any, knobs: Knobs) -> str:
    if name == "effective_batch":
        detail = f" ({knobs.batch_size} at once, {knobs.accumulation} accumulated)" if knobs.accumulation > 1 else ""
        return f"{value} documents{detail}"
    if name == "max_length":
        return f"{value:,} tokens"
    if name == "warmup_ratio":
        return f"{100 * value:g} % of the steps"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}" if value >= 1e-4 or value == 0 else f"{value:.2e}"
    return _WORDS.get(value, str(value))


def as_dict(knobs: Knobs) -> dict[str, Any]:
    """The knobs as plain values."""
    return asdict(knobs)
