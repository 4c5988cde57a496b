"""The hyperparameters of a training run: their ranges, presets and texts. Pure."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values.kinds.registry import KINDS

METHODS = ("lora", "qlora", "full")
SCHEDULERS = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRACKERS = ("tensorboard", "wandb")
TOO_LONG = ("refuse", "leave_out")
#: values that need a package outside the requirements files
PACKAGES = {"qlora": "bitsandbytes", "wandb": "wandb"}
#: values that need a CUDA GPU, with their message
CUDA_ONLY = {
    "qlora": "QLoRA needs a CUDA GPU; no worker of the queue gpu has one. Use LoRA.",
    "fp16": "fp16 needs a CUDA GPU; no worker of the queue gpu has one. Use automatic.",
}
Task = Literal["extraction", "classification", "redaction"]
TASKS: tuple[Task, ...] = get_args(Task)
#: default batch size per device; the rest of the effective batch is accumulated
DEVICE_BATCH = 8


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training run, besides dataset and base model.

    ``batch_size``: documents per device and forward pass; ``accumulation``: forward passes per optimizer step.
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
        """Documents per optimizer step."""
        return self.batch_size * self.accumulation * self.devices

    def steps(self, rows: int) -> int:
        """Optimizer steps of a run over ``rows`` training documents."""
        return max(1, math.ceil(math.ceil(rows / self.effective_batch) * self.epochs)) if rows else 0


def task_of(fields: Sequence[Field]) -> Task:
    """The task that a schema describes, from its fields.

    ``redaction``: only rows of a class and its text. ``classification``: only classes and booleans, and at most free
    text. Everything else is ``extraction``.
    """
    choices = [field for field in fields if field.is_choice]
    if not choices:
        return "extraction"
    in_rows = ["[]" in field.pattern for field in fields]
    if all(in_rows):
        return "redaction" if len(choices) == 1 and choices[0].type != "boolean" and len(fields) == 2 else "extraction"
    decided = all(field in choices or not KINDS[field.kind].scored for field in fields)
    return "classification" if decided and not any(in_rows) else "extraction"


#: (up to this many training documents, effective batch size, epochs), ascending
Sizes = tuple[tuple[float, int, float], ...]
DEFAULT_SIZES: Sizes = ((60, 2, 6.0), (400, 4, 3.0), (2000, 8, 3.0), (math.inf, 16, 2.0))
#: Values over several lines that gold spells differently (addresses) are learned last and need full fine-tuning: on 486
#: receipts of SROIE they still improve in the sixth epoch, after the validation loss has risen. See docs/benchmarks.md.
LONG_VALUE_SIZES: Sizes = ((60, 2, 10.0), (600, 4, 8.0), (2000, 8, 4.0), (math.inf, 16, 2.0))
SIZES_BY_TASK: dict[tuple[Task, str], Sizes] = {("extraction", "full"): LONG_VALUE_SIZES}
#: by method: full fine-tuning updates every weight, so its learning rate is lower
LEARNING_RATES = {"lora": 1e-3, "qlora": 1e-3, "full": 3e-4}


def preset(train_rows: int, method: str = "lora", task: Task = "extraction") -> Hyperparameters:
    """The preset for a training split of this size, a method and a task.

    Few documents need small batches and more epochs, or the run ends after a handful of steps.
    """
    known = method if method in LEARNING_RATES else "lora"
    sizes = SIZES_BY_TASK.get((task, known), DEFAULT_SIZES)
    batch, epochs = next((batch, epochs) for limit, batch, epochs in sizes if train_rows <= limit)
    hyperparameters = Hyperparameters(method=known, learning_rate=LEARNING_RATES[known], epochs=epochs)
    return with_effective_batch(hyperparameters, batch)


def with_effective_batch(
    hyperparameters: Hyperparameters, effective: int, device_batch: int = DEVICE_BATCH
) -> Hyperparameters:
    """The hyperparameters with this effective batch size, and at most ``device_batch`` documents per device batch.

    Several devices share a step; where it cannot be split evenly, each takes one document more.
    """
    effective = math.ceil(effective / max(1, hyperparameters.devices))
    batch = next((size for size in range(min(device_batch, effective), 0, -1) if effective % size == 0), 1)
    return replace(hyperparameters, batch_size=batch, accumulation=max(1, effective // batch))


def _is_outside(value: float, low: float, high: float) -> bool:
    return not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high)


def missing_package_message(value: str) -> str:
    """The message for a value whose package is missing on the worker."""
    package = PACKAGES[value]
    name = {"qlora": "QLoRA"}.get(value, VALUE_LABELS.get(value, value))
    return f"{name} needs the package {package}. Install it on the worker: pip install {package}."


def problems(
    hyperparameters: Hyperparameters,
    context: int = 0,
    *,
    cuda: bool = False,
    gpus: int = 1,
    missing: Collection[str] = (),
) -> dict[str, str]:
    """A message for each invalid hyperparameter.

    ``context``: tokens that the model reads, 0 where unknown. ``cuda``, ``gpus`` and ``missing`` (packages) describe
    the worker that would train.
    """
    messages: dict[str, str] = {}
    ranges: list[tuple[str, float, float, str]] = [
        ("max_length", 16, 32768, "Max sequence length: 16 to 32,768 tokens."),
        ("batch_size", 1, 512, "Batch size per device: 1 to 512."),
        ("accumulation", 1, 1024, "Gradient accumulation: 1 to 1,024."),
        ("learning_rate", 1e-8, 0.1, "Learning rate: 0.00000001 to 0.1; 0.001 suits LoRA."),
        ("epochs", 0.01, 100, "Epochs: 0.01 to 100."),
        ("lora_r", 1, 512, "LoRA rank: 1 to 512."),
        ("lora_alpha", 1, 2048, "LoRA alpha: 1 to 2,048; usually twice the rank."),
        ("lora_dropout", 0, 0.9, "LoRA dropout: 0 to 0.9."),
        ("warmup_ratio", 0, 0.9, "Warm-up: a share of the steps from 0 to 0.9."),
        ("seed", 0, 2**31 - 1, "Seed: an integer from 0 to 2,147,483,647."),
        ("devices", 1, max(1, gpus), _devices_message(gpus)),
    ]
    if hyperparameters.early_stopping is not None:
        ranges.append(("early_stopping", 1, 100, "Patience: 1 to 100 evaluations. Leave empty to disable."))
    for name, low, high, sentence in ranges:
        if _is_outside(getattr(hyperparameters, name), low, high):
            messages[name] = sentence
    choices = [
        ("method", METHODS),
        ("scheduler", SCHEDULERS),
        ("precision", PRECISIONS),
        ("too_long", TOO_LONG),
    ]
    for name, allowed in choices:
        value = getattr(hyperparameters, name)
        if value not in allowed:
            messages[name] = f"{value!r} is not one of {', '.join(allowed)}."
        elif value in CUDA_ONLY and not cuda:
            messages[name] = CUDA_ONLY[value]
        elif PACKAGES.get(value) in missing:
            messages[name] = missing_package_message(value)
    unknown = [name for name in hyperparameters.trackers if name not in TRACKERS]
    if unknown:
        messages["trackers"] = f"{unknown[0]!r} is not one of {', '.join(TRACKERS)}."
    elif not_installed := [name for name in hyperparameters.trackers if PACKAGES.get(name) in missing]:
        messages["trackers"] = missing_package_message(not_installed[0])
    if context and "max_length" not in messages and hyperparameters.max_length > context:
        messages["max_length"] = f"The model reads at most {context:,} tokens, not {hyperparameters.max_length:,}."
    return messages


def _devices_message(gpus: int) -> str:
    if gpus < 2:
        return "Use 1 device: no worker of the queue gpu has more than one GPU."
    return f"GPUs: 1 to {gpus}, as many as the worker has."


#: titles of the hyperparameters, in the order of the page
TITLES = {
    "method": "Method",
    "max_length": "Sequence length",
    "effective_batch": "Batch size",
    "learning_rate": "Learning rate",
    "epochs": "Epochs",
    "precision": "Precision",
    "activation_checkpointing": "Gradient checkpointing",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "scheduler": "Scheduler",
    "warmup_ratio": "Warm-up",
    "too_long": "Documents over the limit",
    "seed": "Seed",
    "early_stopping": "Early stopping",
    "devices": "Devices",
    "trackers": "Trackers",
}
PRIMARY = ("method", "max_length", "effective_batch", "learning_rate", "epochs", "precision")
VALUE_LABELS = {
    "lora": "LoRA adapter, merged",
    "qlora": "QLoRA adapter (4-bit), merged",
    "tensorboard": "TensorBoard",
    "wandb": "Weights & Biases",
    "full": "full fine-tuning",
    "auto": "automatic",
    "refuse": "reject the run",
    "leave_out": "leave them out",
}


@dataclass(frozen=True)
class HyperparameterRow:
    """One hyperparameter as text; ``preset`` is the preset's value where the run differs from it.

    ``is_primary`` marks the most important ones.
    """

    title: str
    text: str
    preset: str
    is_primary: bool


def describe(hyperparameters: Hyperparameters, defaults: Hyperparameters) -> list[HyperparameterRow]:
    """The hyperparameters as text, with the preset where they differ."""
    lines = []
    for name, title in TITLES.items():
        if name.startswith("lora_") and hyperparameters.method == "full":
            continue
        text, preset_text = describe_value(name, hyperparameters), describe_value(name, defaults)
        lines.append(HyperparameterRow(title, text, "" if text == preset_text else preset_text, name in PRIMARY))
    return lines


def describe_value(name: str, hyperparameters: Hyperparameters) -> str:
    """The value of one hyperparameter as text."""
    value = getattr(hyperparameters, name)
    if name == "effective_batch":
        parts = [
            f"{hyperparameters.batch_size} per device",
            f"{hyperparameters.accumulation} accumulated",
            f"{hyperparameters.devices} devices",
        ]
        shown = parts[:1] + [parts[1]] * (hyperparameters.accumulation > 1) + [parts[2]] * (hyperparameters.devices > 1)
        return f"{value} documents" + (f" ({', '.join(shown)})" if len(shown) > 1 else "")
    if name == "max_length":
        return f"{value:,} tokens"
    if name == "warmup_ratio":
        return f"{100 * value:g} % of the steps"
    if name == "early_stopping":
        return f"patience {value}" if value else "off"
    if name == "trackers":
        return ", ".join(VALUE_LABELS.get(one, one) for one in value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return exact_text(value)
    return VALUE_LABELS.get(value, str(value))


def exact_text(value: float) -> str:
    """The shortest text that reads back as the same number: 0.001, 3, 2.125e-05."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
