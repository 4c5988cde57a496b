"""The training arguments of a run, and its steps."""

import math
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from training.ml.data.encoded_dataset import EncodedDataset
from training.spec import RunSpec


def steps_per_epoch(spec: RunSpec, rows: int) -> int:
    """Optimizer steps of an epoch over ``rows`` documents."""
    batches = math.ceil(math.ceil(rows / spec.batch_size) / spec.devices)
    return math.ceil(batches / spec.accumulation)


def total_steps(spec: RunSpec, rows: int) -> int:
    """Optimizer steps of a run over ``rows`` training documents."""
    if spec.max_steps is not None:
        return spec.max_steps
    return max(1, math.ceil(spec.epochs * steps_per_epoch(spec, rows)))


def eval_interval(spec: RunSpec, rows: int) -> int:
    """Steps between two evaluations: a quarter of the run, at most an epoch."""
    if spec.eval_every is not None:
        return spec.eval_every
    return max(1, min(math.ceil(total_steps(spec, rows) / 4), steps_per_epoch(spec, rows)))


def optimizer_constants(arguments: SFTConfig) -> dict[str, Any]:
    """What the optimizer uses, defaults of the library included."""
    names = (
        *("optim", "learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
        *(
            "warmup_steps",
            "max_steps",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "seed",
            "data_seed",
        ),
    )
    constants = {name: getattr(arguments, name) for name in names}
    constants["optim"] = str(getattr(arguments.optim, "value", arguments.optim))
    return {
        **constants,
        "lr_scheduler_type": str(getattr(arguments.lr_scheduler_type, "value", arguments.lr_scheduler_type)),
    }


def training_arguments(spec: RunSpec, data: EncodedDataset, device: torch.device, precision: str) -> SFTConfig:
    """The arguments of the trainer; ``precision`` is bf16, fp16 or fp32."""
    steps = total_steps(spec, len(data.train))
    return SFTConfig(
        output_dir=str(Path(spec.output_dir) / "state"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        max_length=None,  # checked before: TRL truncates silently
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows are token ids already
        remove_unused_columns=False,  # augmented rows are made of another column
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.accumulation,
        gradient_checkpointing=spec.activation_checkpointing,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.scheduler,
        warmup_steps=round(spec.warmup_ratio * steps),
        max_steps=steps,
        optim="adamw_torch_fused",  # one pass over the weights instead of a dozen, which take a tenth of a step
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=spec.seed,
        data_seed=spec.seed,
        eval_strategy="steps" if data.validation else "no",
        eval_steps=eval_interval(spec, len(data.train)) if data.validation else None,
        prediction_loss_only=True,
        save_strategy="no",  # checkpoints are ours
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        ddp_find_unused_parameters=False if spec.devices > 1 else None,
        disable_tqdm=True,
        report_to="none",  # trackers use our events
    )
