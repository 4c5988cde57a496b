"""The knobs of a fine-tuning: what each may be, and the values that are right without touching anything. Pure."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values.kinds.registry import KINDS

METHODS = ("lora", "qlora", "full")
SCHEDULERS = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRACKERS = ("tensorboard", "wandb")
TOO_LONG = ("refuse", "leave_out")
#: knob values that need a package which no requirements file brings along
PACKAGES = {"qlora": "bitsandbytes", "wandb": "wandb"}
#: what only a CUDA GPU can do
ONLY_CUDA = {
    "qlora": "QLoRA needs a CUDA GPU with 4-bit kernels, and no worker of the queue gpu has one. Use LoRA.",
    "fp16": "fp16 needs a CUDA GPU, and no worker of the queue gpu has one. Use automatic.",
}
Task = Literal["extraction", "classification", "redaction"]
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


def task_of(fields: Sequence[Field]) -> Task:
    """What kind of job a schema describes, from its leaves.

    ``redaction``: nothing but rows of a class and the words it stands for. ``classification``: classes and yes-or-no
    questions decide, and there is at most a remark in free words beside them, so answers are short. Everything else is
    ``extraction``.
    """
    choices = [field for field in fields if field.is_choice]
    if not choices:
        return "extraction"
    in_rows = ["[]" in field.pattern for field in fields]
    if all(in_rows):
        return "redaction" if len(choices) == 1 and choices[0].type != "boolean" and len(fields) == 2 else "extraction"
    decided = all(field in choices or not KINDS[field.kind].scored for field in fields)
    return "classification" if decided and not any(in_rows) else "extraction"


#: up to so many training documents, so many behind a step, so many passes; the last is for more than that
_Sizes = tuple[tuple[float, int, float], ...]
_USUAL: _Sizes = ((60, 2, 6.0), (400, 4, 3.0), (2000, 8, 3.0), (math.inf, 16, 2.0))
#: Values that run over several lines and that the document spells otherwise than the gold (addresses) are learned last
#: and by all weights: on 486 receipts of SROIE they are still being gained in the sixth pass, long after the validation
#: loss has turned. See docs/benchmarks.md.
_PATIENT: _Sizes = ((60, 2, 10.0), (600, 4, 8.0), (2000, 8, 4.0), (math.inf, 16, 2.0))
_SIZES: dict[tuple[Task, str], _Sizes] = {("extraction", "full"): _PATIENT}
#: by method: full fine-tuning moves every weight, so its steps are smaller than an adapter's
_LEARNING_RATES = {"lora": 1e-3, "qlora": 1e-3, "full": 3e-4}


def preset(train_rows: int, method: str = "lora", task: Task = "extraction") -> Knobs:
    """The knobs for a training split of this size and a job of this kind.

    Few documents need small batches and more passes, or the run ends after a handful of steps; many need fewer passes.
    """
    known = method if method in _LEARNING_RATES else "lora"
    sizes = _SIZES.get((task, known), _USUAL)
    batch, epochs = next((batch, epochs) for limit, batch, epochs in sizes if train_rows <= limit)
    knobs = Knobs(method=known, learning_rate=_LEARNING_RATES[known], epochs=epochs)
    return with_effective_batch(knobs, batch)


def with_effective_batch(knobs: Knobs, effective: int, at_once: int = DEVICE_BATCH) -> Knobs:
    """The knobs with this many documents behind a step, at most ``at_once`` of them through the model together.

    Several devices share a step; where it cannot be shared evenly, each takes a document more.
    """
    effective = math.ceil(effective / max(1, knobs.devices))
    batch = next((size for size in range(min(at_once, effective), 0, -1) if effective % size == 0), 1)
    return replace(knobs, batch_size=batch, accumulation=max(1, effective // batch))


def _outside(value: float, low: float, high: float) -> bool:
    return not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high)


def not_installed(value: str) -> str:
    """The sentence for a knob's value whose package the worker lacks."""
    package = PACKAGES[value]
    name = {"qlora": "QLoRA"}.get(value, _WORDS.get(value, value))
    return f"{name} needs the package {package}: install it on the worker: pip install {package}."


def problems(
    knobs: Knobs, context: int = 0, *, cuda: bool = False, gpus: int = 1, missing: Collection[str] = ()
) -> dict[str, str]:
    """What is wrong with the knobs, as one sentence per knob.

    ``context`` is the model's, 0 where it is not known; ``cuda`` and ``gpus``: what the worker has that would train;
    ``missing``: packages it is known to lack.
    """
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
        ("devices", 1, max(1, gpus), _devices_words(gpus)),
    ]
    if knobs.early_stopping is not None:
        ranges.append(("early_stopping", 1, 100, "Early stopping waits for between 1 and 100 looks; empty is off."))
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
        if value not in allowed:
            found[name] = f"{value!r} is not one of {', '.join(allowed)}."
        elif value in ONLY_CUDA and not cuda:
            found[name] = ONLY_CUDA[value]
        elif PACKAGES.get(value) in missing:
            found[name] = not_installed(value)
    strange = [name for name in knobs.trackers if name not in TRACKERS]
    if strange:
        found["trackers"] = f"{strange[0]!r} is not one of {', '.join(TRACKERS)}."
    elif lacking := [name for name in knobs.trackers if PACKAGES.get(name) in missing]:
        found["trackers"] = not_installed(lacking[0])
    if context and "max_length" not in found and knobs.max_length > context:
        found["max_length"] = f"The model reads at most {context:,} tokens; this asks for {knobs.max_length:,}."
    return found


def _devices_words(gpus: int) -> str:
    if gpus < 2:
        return "A run takes one device: no worker of the queue gpu has more than one GPU."
    return f"A run takes between 1 and {gpus} GPUs, which is what the worker has."


#: the knobs that are told in words, in this order
TITLES = {
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
    "early_stopping": "Early stopping",
    "devices": "Devices",
    "trackers": "Trackers",
}
_FRONT = ("method", "max_length", "effective_batch", "learning_rate", "epochs", "precision")
_WORDS = {
    "lora": "LoRA adapter, merged",
    "qlora": "QLoRA adapter (4-bit), merged",
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
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
    for name, title in TITLES.items():
        if name.startswith("lora_") and knobs.method == "full":
            continue
        said, expected = say(name, knobs), say(name, usual)
        lines.append(Line(title, said, "" if said == expected else expected, name in _FRONT))
    return lines


def say(name: str, knobs: Knobs) -> str:
    """One knob in words."""
    value = getattr(knobs, name)
    if name == "effective_batch":
        parts = [f"{knobs.batch_size} at once", f"{knobs.accumulation} accumulated", f"{knobs.devices} devices"]
        kept = parts[:1] + [parts[1]] * (knobs.accumulation > 1) + [parts[2]] * (knobs.devices > 1)
        return f"{value} documents" + (f" ({', '.join(kept)})" if len(kept) > 1 else "")
    if name == "max_length":
        return f"{value:,} tokens"
    if name == "warmup_ratio":
        return f"{100 * value:g} % of the steps"
    if name == "early_stopping":
        return f"after {value} look{'s' if value != 1 else ''} without a gain" if value else "off"
    if name == "trackers":
        return ", ".join(_WORDS.get(one, one) for one in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return exact(value)
    return _WORDS.get(value, str(value))


def exact(value: float) -> str:
    """The shortest text that reads back as this very number: 0.001, 3, 2.125e-05."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def as_dict(knobs: Knobs) -> dict[str, Any]:
    """The knobs as plain values."""
    return asdict(knobs)
