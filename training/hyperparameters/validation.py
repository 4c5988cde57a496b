"""Ranges and requirements of hyperparameters, with a message for each problem. Pure."""

import math
from collections.abc import Collection

from training.hyperparameters.display import VALUE_LABELS
from training.hyperparameters.values import (
    AUGMENTATIONS,
    BEST_METRICS,
    CUDA_ONLY,
    METHODS,
    PACKAGES,
    PRECISIONS,
    SCHEDULERS,
    TOO_LONG,
    TRACKERS,
    WEIGHT_AVERAGING,
    Hyperparameters,
)


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
        ("train_share", 0.001, 1, "Share of the training documents: 0.001 to 1."),
        ("ema_decay", 0.5, 0.99999, "EMA decay: 0.5 to 0.99999; 0.99 averages over about a hundred steps."),
        ("warmup_ratio", 0, 0.9, "Warm-up: a share of the steps from 0 to 0.9."),
        ("seed", 0, 2**31 - 1, "Seed: an integer from 0 to 2,147,483,647."),
        ("devices", 1, max(1, gpus), _devices_message(gpus)),
        ("sample_documents", 0, 1000, "Scored documents: 0 to 1,000 at each evaluation."),
    ]
    optional: list[tuple[str, float, float, str]] = [
        ("early_stopping", 1, 100, "Patience: 1 to 100 evaluations. Leave empty to disable."),
        ("eval_every", 1, 1_000_000, "Evaluation interval: 1 to 1,000,000 steps. Leave empty for the automatic one."),
        ("save_every", 1, 1_000_000, "Checkpoint interval: 1 to 1,000,000 steps. Leave empty for the automatic one."),
        ("sample_seconds", 1, 86_400, "Scoring time limit: 1 to 86,400 seconds. Leave empty for none."),
    ]
    ranges += [one for one in optional if getattr(hyperparameters, one[0]) is not None]
    for name, low, high, sentence in ranges:
        if _is_outside(getattr(hyperparameters, name), low, high):
            messages[name] = sentence
    if hyperparameters.best_metric == "field_accuracy" and hyperparameters.sample_documents == 0:
        messages["sample_documents"] = "Field accuracy is measured on scored documents: score at least one."
    choices = [
        ("method", METHODS),
        ("scheduler", SCHEDULERS),
        ("precision", PRECISIONS),
        ("too_long", TOO_LONG),
        ("best_metric", BEST_METRICS),
        ("weight_averaging", WEIGHT_AVERAGING),
        ("augmentation", AUGMENTATIONS),
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
        return "Use 1 device: no GPU worker has more than one GPU."
    return f"GPUs: 1 to {gpus}, as many as the worker has."


def _is_outside(value: float, low: float, high: float) -> bool:
    return not (isinstance(value, (int, float)) and math.isfinite(value) and low <= value <= high)
