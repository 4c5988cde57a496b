"""Presets: hyperparameters by task, method and size of the training split. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from slmstudio.contract.schema.structure import Field
from slmstudio.contract.values.kinds.registry import KINDS
from training.hyperparameters.definitions import ENCODER_WINDOW, Hyperparameters

Task = Literal["extraction", "classification", "redaction"]
TASKS: tuple[Task, ...] = get_args(Task)
#: default batch size per device; the rest of the effective batch is accumulated
DEVICE_BATCH = 8


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
#: Values over several lines that gold spells differently (addresses) are learned last and need full fine-tuning. On 449
#: receipts of SROIE the validation loss stops falling in the fourth epoch. See docs/benchmarks.md.
LONG_VALUE_SIZES: Sizes = ((60, 2, 10.0), (250, 4, 8.0), (600, 4, 4.0), (2000, 8, 4.0), (math.inf, 16, 2.0))
SIZES_BY_TASK: dict[tuple[Task, str], Sizes] = {("extraction", "full"): LONG_VALUE_SIZES}
#: whose preset exchanges values between documents: a model whose weights are all trained learns known names by heart
AUGMENTED: frozenset[tuple[Task, str]] = frozenset({("extraction", "full")})
#: by method: full fine-tuning updates every weight, so its learning rate is lower
LEARNING_RATES = {"lora": 1e-3, "qlora": 1e-3, "full": 3e-4}
ENCODER_SIZES: Sizes = ((60, 4, 10.0), (1000, 8, 8.0), (4000, 16, 6.0), (math.inf, 32, 4.0))
#: A step of an encoder is mostly work on its weights where documents are short messages.
ENCODER_DEVICE_BATCH = 16
#: Parameters under which an encoder learns with the higher learning rate of each method. That of the heads is ten times
#: as high.
SMALL_ENCODER = 50_000_000
ENCODER_LEARNING_RATES = {"full": (1e-4, 5e-5), "lora": (4e-4, 2e-4)}
#: Documents by which the best weights are chosen; an encoder scores them in seconds. Fewer choose by chance: with 29
#: receipts those of the third epoch of six, 0.8 F1 worse on the hold-out than the last.
ENCODER_SAMPLES = 50


def preset(train_rows: int, method: str = "lora", task: Task = "extraction") -> Hyperparameters:
    """The preset for a training split of this size, a method and a task.

    Few documents need small batches and more epochs, or the run ends after a handful of steps.
    """
    known = method if method in LEARNING_RATES else "lora"
    sizes = SIZES_BY_TASK.get((task, known), DEFAULT_SIZES)
    batch, epochs = next((batch, epochs) for limit, batch, epochs in sizes if train_rows <= limit)
    augmentation = "exchange" if (task, known) in AUGMENTED else "none"
    hyperparameters = Hyperparameters(
        method=known, learning_rate=LEARNING_RATES[known], epochs=epochs, augmentation=augmentation
    )
    return with_effective_batch(hyperparameters, batch)


def encoder_preset(
    train_rows: int, parameters: int, context: int = 0, method: str = "full", task: Task = "extraction"
) -> Hyperparameters:
    """The preset of an encoder with so many parameters. ``context``: tokens that it reads, 0 where unknown."""
    known = method if method in ENCODER_LEARNING_RATES else "full"
    batch, epochs = next((batch, epochs) for limit, batch, epochs in ENCODER_SIZES if train_rows <= limit)
    small, other = ENCODER_LEARNING_RATES[known]
    hyperparameters = Hyperparameters(
        method=known,
        max_length=min(ENCODER_WINDOW, context or ENCODER_WINDOW),
        learning_rate=small if parameters < SMALL_ENCODER else other,
        epochs=epochs,
        augmentation="exchange" if task == "extraction" else "none",
        best_metric="field_accuracy",
        sample_documents=ENCODER_SAMPLES,
    )
    return with_effective_batch(hyperparameters, batch, ENCODER_DEVICE_BATCH)


def with_effective_batch(
    hyperparameters: Hyperparameters, effective: int, device_batch: int = DEVICE_BATCH
) -> Hyperparameters:
    """The hyperparameters with this effective batch size, and at most ``device_batch`` documents per device batch.

    Several devices share a step; where it cannot be split evenly, each takes one document more.
    """
    effective = math.ceil(effective / max(1, hyperparameters.devices))
    batch = next((size for size in range(min(device_batch, effective), 0, -1) if effective % size == 0), 1)
    return replace(hyperparameters, batch_size=batch, accumulation=max(1, effective // batch))
