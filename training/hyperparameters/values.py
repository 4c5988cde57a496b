"""The hyperparameters of a training run, and the values that their choices have. Pure."""

import math
from dataclasses import asdict, dataclass
from typing import Any

METHODS = ("lora", "qlora", "full")
SCHEDULERS = ("cosine", "linear", "constant")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRACKERS = ("tensorboard", "wandb")
BEST_METRICS = ("validation_loss", "field_accuracy")
WEIGHT_AVERAGING = ("none", "ema")
AUGMENTATIONS = ("none", "exchange")
TOO_LONG = ("windows", "refuse", "leave_out")
#: values that need a package outside the requirements files
PACKAGES = {"qlora": "bitsandbytes", "wandb": "wandb"}
#: values that need a CUDA GPU, with their message
CUDA_ONLY = {
    "qlora": "QLoRA needs a CUDA GPU, and no GPU worker has one. Use LoRA.",
    "fp16": "fp16 needs a CUDA GPU, and no GPU worker has one. Use automatic.",
}


@dataclass(frozen=True)
class Hyperparameters:
    """The settings of a training run, besides dataset and base model.

    ``batch_size``: documents per device and forward pass; ``accumulation``: forward passes per optimizer step.
    ``silver``: also train on the silver labels of the dataset. ``train_share``: of the training documents.
    ``eval_every`` and ``save_every``: steps between evaluations and between checkpoints; None: the trainer's choice.
    ``sample_documents``: validation documents whose outputs are scored at each evaluation, in at most
    ``sample_seconds``. ``best_metric``: what early stopping and the choice of the saved weights follow.
    ``weight_averaging``: ``ema`` keeps an exponential moving average of the weights with ``ema_decay``.
    ``augmentation``: ``exchange`` also trains on copies with values of other documents.
    ``keep_best_and_last``: of the best evaluation and of the last step, keep the weights that were not chosen, too.
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
    too_long: str = "windows"
    warmup_ratio: float = 0.05
    scheduler: str = "cosine"
    precision: str = "auto"
    activation_checkpointing: bool = False
    devices: int = 1
    early_stopping: int | None = None
    best_metric: str = "validation_loss"
    weight_averaging: str = "none"
    ema_decay: float = 0.99
    augmentation: str = "none"
    keep_best_and_last: bool = True
    eval_every: int | None = None
    save_every: int | None = None
    sample_documents: int = 4
    sample_seconds: int | None = None
    trackers: tuple[str, ...] = ()
    silver: bool = False
    train_share: float = 1.0

    @property
    def effective_batch(self) -> int:
        """Documents per optimizer step."""
        return self.batch_size * self.accumulation * self.devices

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as JSON, with the effective batch size."""
        return {**asdict(self), "trackers": list(self.trackers), "effective_batch": self.effective_batch}

    def steps(self, rows: int) -> int:
        """Optimizer steps of a run over ``rows`` training documents."""
        return max(1, math.ceil(math.ceil(rows / self.effective_batch) * self.epochs)) if rows else 0
