"""The hyperparameters of a training run: the one place of their types, ranges, titles and hints. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

from annotated_types import Ge, Le
from pydantic import Field
from pydantic.fields import FieldInfo

from training.strict_yaml import Flag, Number, OneOf, Text, Whole

Method = Literal["lora", "qlora", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
#: values that need a package outside the requirements files
PACKAGES = {"qlora": "bitsandbytes", "wandb": "wandb"}
#: values that need a CUDA GPU, with their message
CUDA_ONLY = {
    "qlora": "QLoRA needs a CUDA GPU, and no GPU worker has one. Use LoRA.",
    "fp16": "fp16 needs a CUDA GPU, and no GPU worker has one. Use automatic.",
}
#: tokens of a window of an encoder, at most: the memory of span scores grows with the square
ENCODER_WINDOW = 512


def about(title: str, hint: str = "") -> FieldInfo:
    """The title and the hint of a hyperparameter."""
    return cast(FieldInfo, Field(title=title, description=hint))


def in_range(title: str, limits: tuple[float, float], hint: str = "") -> FieldInfo:
    """The title, the range and the hint of a hyperparameter that is a number."""
    return cast(FieldInfo, Field(title=title, ge=limits[0], le=limits[1], description=hint))


Rank = Annotated[Whole, in_range("LoRA rank", (1, 512))]
Alpha = Annotated[Whole, in_range("LoRA alpha", (1, 2048), "Usually twice the rank.")]
Dropout = Annotated[Number, in_range("LoRA dropout", (0, 0.9))]
_Steps = Annotated[Whole | None, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The hyperparameters that the trainer reads under the same names.

    ``batch_size``: documents per device and forward pass; ``accumulation``: forward passes per optimizer step.
    ``train_share``: of the training documents. ``eval_every`` and ``save_every``: steps between evaluations and between
    checkpoints; None: the trainer's choice. ``sample_documents``: validation documents whose outputs are scored at each
    evaluation, in at most ``sample_seconds``. ``best_metric``: what early stopping and the choice of the saved weights
    follow. ``weight_averaging``: ``ema`` keeps an exponential moving average of the weights with ``ema_decay``.
    ``augmentation``: ``exchange`` also trains on copies with values of other documents. ``keep_best_and_last``: of the
    best evaluation and of the last step, keep the weights that were not chosen, too.
    """

    method: Annotated[str, OneOf(*METHODS), about("Method")] = "lora"
    max_length: Annotated[
        Whole,
        in_range(
            "Sequence length",
            (16, 32768),
            "Tokens of instruction, document and output together. Longer documents are split into windows by default.",
        ),
    ] = 1024
    batch_size: Annotated[
        Whole,
        in_range(
            "Batch size per device",
            (1, 512),
            "Smaller values need less memory. Gradients accumulate up to the effective batch size.",
        ),
    ] = 8
    accumulation: Annotated[Whole, in_range("Gradient accumulation", (1, 1024))] = 1
    learning_rate: Annotated[
        Number,
        in_range(
            "Learning rate", (1e-8, 0.1), "0.001 suits LoRA, 0.0003 full fine-tuning, 0.00005 to 0.0001 an encoder."
        ),
    ] = 1e-3
    epochs: Annotated[Number, in_range("Epochs", (0.01, 100))] = 3.0
    precision: Annotated[
        str,
        OneOf("auto", "fp32", "bf16", "fp16"),
        about("Precision", "Automatic uses bfloat16 if it is faster on the worker, otherwise 32-bit."),
    ] = "auto"
    activation_checkpointing: Annotated[
        Flag,
        about("Gradient checkpointing", "Uses less memory but is about a third slower."),
    ] = False
    scheduler: Annotated[str, OneOf("cosine", "linear", "constant"), about("Scheduler")] = "cosine"
    warmup_ratio: Annotated[Number, in_range("Warm-up", (0, 0.9), "As a share of the steps.")] = 0.05
    too_long: Annotated[
        str,
        OneOf("windows", "refuse", "leave_out"),
        about(
            "Documents over the limit",
            "Windows overlap, and their outputs are merged into one. Documents are never truncated.",
        ),
    ] = "windows"
    seed: Annotated[Whole, in_range("Seed", (0, 2**31 - 1))] = 17
    early_stopping: Annotated[
        Whole | None,
        in_range(
            "Early stopping",
            (1, 100),
            "Stops after this many evaluations without improvement and keeps the best weights. Leave empty to disable.",
        ),
    ] = None
    best_metric: Annotated[
        str,
        OneOf("validation_loss", "field_accuracy"),
        about(
            "Best weights by",
            "Validation loss often rises before field accuracy falls. With field accuracy, the best weights are "
            "kept even without early stopping; score at least 50 documents.",
        ),
    ] = "validation_loss"
    weight_averaging: Annotated[
        str,
        OneOf("none", "ema"),
        about(
            "Weight averaging",
            "Evaluates and keeps averaged weights, which vary less from step to step. Needs memory for a second "
            "copy of the trained weights.",
        ),
    ] = "none"
    ema_decay: Annotated[
        Number,
        in_range(
            "EMA decay",
            (0.5, 0.99999),
            "For weight averaging only. 0.99 averages over about the last 100 steps, and never over more than 10% "
            "of the run.",
        ),
    ] = 0.99
    augmentation: Annotated[
        str,
        OneOf("none", "exchange"),
        about(
            "Augmentation",
            "In every second epoch, names and addresses are swapped between documents and some lines without "
            "values are removed, so the model sees new combinations.",
        ),
    ] = "none"
    keep_best_and_last: Annotated[
        Flag,
        about(
            "Keep best and last",
            "Keeps the weights of the best evaluation and of the last step, so you can evaluate both. Needs disk "
            "space for a second model.",
        ),
    ] = True
    eval_every: Annotated[
        _Steps,
        about("Evaluation interval", "In steps. Leave empty for four evaluations per run and at least one per epoch."),
    ] = None
    save_every: Annotated[
        _Steps,
        about("Checkpoint interval", "In steps. Leave empty to save one after each evaluation and every five minutes."),
    ] = None
    sample_documents: Annotated[
        Whole,
        in_range(
            "Scored documents",
            (0, 1000),
            "Number of validation documents scored at each evaluation. Use at least 50 to choose weights "
            "by field accuracy.",
        ),
    ] = 4
    sample_seconds: Annotated[
        Whole | None,
        in_range(
            "Scoring time limit",
            (1, 86_400),
            "In seconds. Documents that are not scored in time at the first evaluation are excluded from all "
            "evaluations.",
        ),
    ] = None
    devices: Annotated[Whole, in_range("Devices", (1, 1024), "Each step is split across the GPUs.")] = 1
    trackers: Annotated[tuple[Annotated[str, OneOf("tensorboard", "wandb")], ...], about("Trackers")] = ()
    train_share: Annotated[
        Number,
        in_range(
            "Share of the training documents",
            (0.001, 1),
            "Sampled with the seed; 1 uses all documents. A smaller share is always a subset of a larger one.",
        ),
    ] = 1.0

    @property
    def effective_batch(self) -> int:
        """Documents per optimizer step."""
        return self.batch_size * self.accumulation * self.devices

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps of an epoch over ``rows`` training documents."""
        return math.ceil(rows / self.effective_batch)

    def steps(self, rows: int) -> int:
        """Optimizer steps of a run over ``rows`` training documents."""
        return max(1, math.ceil(self.epochs * self.steps_per_epoch(rows))) if rows else 0


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(TrainingSettings):
    """The settings of a training run, besides dataset and base model.

    ``silver``: also train on the silver labels of the dataset. ``without_heads``: fields that an encoder does not
    answer, by pattern.
    """

    lora_r: Rank = 16
    lora_alpha: Alpha = 32
    lora_dropout: Dropout = 0.0
    silver: Annotated[
        Flag,
        about(
            "Silver labels",
            "Pre-labels that passed every check. To see their effect, compare runs with and without them on "
            "validation.",
        ),
    ] = False
    without_heads: Annotated[tuple[Text, ...], about("Fields without a head")] = ()

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as JSON, with the effective batch size."""
        lists = {name: list(getattr(self, name)) for name in ("trackers", "without_heads")}
        return {**asdict(self), **lists, "effective_batch": self.effective_batch}


#: the type, title, range and hint of each hyperparameter
FIELDS: dict[str, FieldInfo] = {
    name: FieldInfo.from_annotation(kind) for name, kind in get_type_hints(Hyperparameters, include_extras=True).items()
}


def range_of(name: str) -> tuple[float, float]:
    """The lowest and the highest value of a hyperparameter."""
    low = next((bound.ge for bound in FIELDS[name].metadata if isinstance(bound, Ge)), -math.inf)
    high = next((bound.le for bound in FIELDS[name].metadata if isinstance(bound, Le)), math.inf)
    return cast(float, low), cast(float, high)


def values_of(name: str) -> tuple[str, ...]:
    """The values of a hyperparameter that is a choice; empty for others."""
    return next((choice.values for choice in FIELDS[name].metadata if isinstance(choice, OneOf)), ())
