"""What a run trains, by the family of its base model, and what every family shares."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import TrainingArguments

from training.ml.events import Emitter
from training.ml.hardware.device import memory_limit
from training.ml.loop.curve_warnings import TrainingMonitor
from training.ml.loop.progress_callback import EarlyStopping, ProgressCallback, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.spec import RunSpec


class TrainingTask(ABC):
    """What a run trains, by the family of its base model: its rows, its trainer, and the files that it saves.

    ``data`` has ``train`` and ``validation`` rows with a ``length`` in tokens, ``silver``, ``left_out``,
    ``has_one_answer`` and ``window_facts``.
    """

    data: Any

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec

    @abstractmethod
    def build_trainer(
        self, emitter: Emitter, stop: StopSignal, device: torch.device, precision: str
    ) -> tuple[ResumableTrainer, ProgressCallback]:
        """The trainer and its progress callback."""

    @abstractmethod
    def save(self, trainer: ResumableTrainer, output: Path, emitter: Emitter, prefix: str = "") -> None:
        """Saves the weights of the model below ``output``; ``prefix``: of the kinds of the ``artifact`` events."""

    def start_facts(self) -> dict[str, Any]:
        """What else the ``start`` event says."""
        return {}

    def progress(
        self, emitter: Emitter, stop: StopSignal, sample: Callable[[], dict[str, Any]] | None, device: torch.device
    ) -> ProgressCallback:
        """The progress callback of a trainer."""
        spec = self.spec
        return ProgressCallback(
            emitter,
            stop,
            sample,
            early_stopping=EarlyStopping(spec.early_stopping, spec.best_metric, keeps_both=spec.keep_best_and_last),
            monitor=TrainingMonitor(memory_limit(device)),
            save_every=spec.save_every,
        )

    def arguments(self, device: torch.device, precision: str) -> dict[str, Any]:
        """Arguments of transformers' trainer; ``precision`` is bf16, fp16 or fp32."""
        spec, rows = self.spec, len(self.data.train)
        steps = spec.steps(rows)
        return {
            "output_dir": str(Path(spec.output_dir) / "state"),
            "use_cpu": device.type == "cpu",
            "bf16": precision == "bf16",
            "fp16": precision == "fp16",
            "remove_unused_columns": False,  # rows are made of another column
            "per_device_train_batch_size": spec.batch_size,
            "per_device_eval_batch_size": spec.batch_size,
            "gradient_accumulation_steps": spec.accumulation,
            "gradient_checkpointing": spec.activation_checkpointing,
            "learning_rate": spec.learning_rate,
            "lr_scheduler_type": spec.scheduler,
            "warmup_steps": round(spec.warmup_ratio * steps),
            "max_steps": steps,
            "optim": "adamw_torch_fused",  # one pass over the weights instead of a dozen, which take a tenth of a step
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "seed": spec.seed,
            "data_seed": spec.seed,
            "eval_strategy": "steps" if self.data.validation else "no",
            "eval_steps": spec.eval_interval(rows) if self.data.validation else None,
            "prediction_loss_only": True,
            "save_strategy": "no",  # checkpoints are ours
            "logging_strategy": "steps",
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": device.type == "cuda",
            "ddp_find_unused_parameters": False if spec.devices > 1 else None,
            "disable_tqdm": True,
            "report_to": "none",  # trackers use our events
        }


def lora_config(spec: RunSpec, task_type: str) -> LoraConfig:
    """The adapter of a run, for PEFT."""
    targets = spec.lora.targets
    return LoraConfig(
        r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type=task_type,
    )


def optimizer_constants(arguments: TrainingArguments) -> dict[str, Any]:
    """What the optimizer uses, defaults of the library included."""
    names = (
        *("optim", "learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
        *("warmup_steps", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "seed"),
        *("data_seed", "lr_scheduler_type"),
    )
    values = {name: getattr(arguments, name) for name in names}
    return {name: str(value.value) if isinstance(value, Enum) else value for name, value in values.items()}
