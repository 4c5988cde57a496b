"""Builds the trainer of a run: base model, adapter, datasets, arguments and progress callback."""

import os
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig

from slmstudio.contract.schema.compiled import CompiledSchema
from training.ml.data.augmentation import AugmentedRows, EpochOfRows, token_ids
from training.ml.data.encoded_dataset import EncodedDataset
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Loaded
from training.ml.events import Emitter, is_main_process
from training.ml.hardware.device import memory_limit
from training.ml.lengths import EncodedRow, answer_limit
from training.ml.loop.curve_warnings import TrainingMonitor
from training.ml.loop.progress_callback import EarlyStopping, ProgressCallback, StopSignal
from training.ml.loop.samples import ValidationSampler
from training.ml.loop.trainer import CompletionTrainer
from training.ml.modeling import quantization
from training.ml.modeling.compilation import can_compile, compiled_layers, is_worth_compiling
from training.ml.modeling.compute_weights import ComputeWeights
from training.spec import RunSpec


def build_trainer(
    spec: RunSpec,
    data: EncodedDataset,
    schema: CompiledSchema,
    encoder: Encoder,
    emitter: Emitter,
    stop: StopSignal,
    device: torch.device,
    precision: str,
) -> tuple[CompletionTrainer, ProgressCallback]:
    """The trainer and its progress callback."""
    model = _load_base(spec, precision)
    # The first documents by id, not the shortest ones.
    sampled = data.validation_documents()[: spec.sample_documents]
    limit = answer_limit(len(row.completion) for row in data.train)
    sampler = (
        ValidationSampler(sampled, schema=schema, encoder=encoder, limit=limit, seconds=spec.sample_seconds)
        if sampled and is_main_process()
        else None
    )

    def sample() -> dict[str, Any]:
        assert sampler is not None
        inner = trainer.model if spec.method == "full" else trainer.model.get_base_model()
        inner.eval()
        loaded = Loaded(inner, encoder.tokenizer, device, precision)
        return sampler.sample(loaded, stopped=progress.should_stop_sampling)

    progress = ProgressCallback(
        emitter,
        stop,
        sample if sampler else None,
        early_stopping=EarlyStopping(spec.early_stopping, spec.best_metric, keeps_both=spec.keep_best_and_last),
        monitor=TrainingMonitor(memory_limit(device)),
        save_every=spec.save_every,
    )
    train_rows, epochs = _train_rows(spec, data, schema, encoder)
    trainer = CompletionTrainer(
        model=model,
        args=training_arguments(spec, data, device, precision),
        train_dataset=train_rows,
        eval_dataset=_dataset(data.validation) if data.validation else None,
        processing_class=encoder.tokenizer,
        peft_config=None if spec.method == "full" else _lora(spec),
        callbacks=[progress, *epochs],
        lengths=[row.length for row in data.train],
    )
    if spec.method == "qlora":
        quantization.cast_trainable_to_fp32(trainer.model)
    if spec.method == "full" and device.type == "cpu" and spec.devices == 1:
        _accelerate(spec, data, trainer, precision)
    if spec.weight_averaging == "ema":
        trainer.average_weights(spec.ema_decay)
    progress.attach(trainer)
    return trainer, progress


def _accelerate(spec: RunSpec, data: EncodedDataset, trainer: CompletionTrainer, precision: str) -> None:
    """Copies of weights, and compiled layers for a long training: the same for every attempt of a run on this machine,
    as compiled layers round differently.
    """
    if precision == "bf16":
        trainer.compute_weights = ComputeWeights(trainer.model, torch.bfloat16)
    epochs = spec.steps(len(data.train)) / spec.steps_per_epoch(len(data.train))
    tokens = epochs * sum(row.length for row in data.train)
    parameters = sum(weights.numel() for weights in trainer.model.parameters())
    can = can_compile(memory_limit(torch.device("cpu")))
    if spec.activation_checkpointing or not is_worth_compiling(parameters, tokens) or not can:
        return
    if trainer.compute_weights is None:
        trainer.compiled = compiled_layers(trainer.model)
    else:
        autocast = torch.autocast("cpu", dtype=torch.bfloat16)
        trainer.compiled = compiled_layers(trainer.model, autocast, trainer.compute_weights.in_use())


def _load_base(spec: RunSpec, precision: str) -> Any:
    """Frozen weights have the compute type; trainable ones are always fp32."""
    if spec.method == "qlora":
        return quantization.load(spec, precision, int(os.environ.get("LOCAL_RANK", "0")))
    frozen = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    return AutoModelForCausalLM.from_pretrained(
        spec.base_model.path,
        dtype=frozen if spec.method == "lora" else torch.float32,
        trust_remote_code=False,
        use_safetensors=True,
        local_files_only=True,
    )


def _lora(spec: RunSpec) -> LoraConfig:
    targets = spec.lora.targets
    return LoraConfig(
        r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )


def _train_rows(
    spec: RunSpec, data: EncodedDataset, schema: CompiledSchema, encoder: Encoder
) -> tuple[Dataset, list[TrainerCallback]]:
    """The training dataset, with the callback that sets its epoch where rows differ by epoch."""
    if spec.augmentation == "none":
        return _dataset(data.train), []
    rows = AugmentedRows(data.train, spec, schema, encoder)
    return rows.dataset(), [EpochOfRows(rows, spec.steps_per_epoch(len(data.train)))]


def _dataset(rows: list[EncodedRow]) -> Dataset:
    return Dataset.from_list([token_ids(row) for row in rows])


def optimizer_constants(arguments: SFTConfig) -> dict[str, Any]:
    """What the optimizer uses, defaults of the library included."""
    names = (
        *("optim", "learning_rate", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay", "max_grad_norm"),
        *("warmup_steps", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "seed"),
        *("data_seed", "lr_scheduler_type"),
    )
    values = {name: getattr(arguments, name) for name in names}
    return {name: str(value.value) if isinstance(value, Enum) else value for name, value in values.items()}


def training_arguments(spec: RunSpec, data: EncodedDataset, device: torch.device, precision: str) -> SFTConfig:
    """The arguments of the trainer; ``precision`` is bf16, fp16 or fp32."""
    steps = spec.steps(len(data.train))
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
        eval_steps=spec.eval_interval(len(data.train)) if data.validation else None,
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
