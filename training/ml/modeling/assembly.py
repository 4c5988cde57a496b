"""Builds a run: model, trainer and progress callback."""

import math
import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from trl import SFTConfig

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from training.ml.data.encoded_dataset import EncodedDataset
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Loaded
from training.ml.events import Emitter
from training.ml.hardware.memory_limit import memory_limit
from training.ml.lengths import EncodedRow, answer_limit
from training.ml.loop.curve_warnings import TrainingMonitor
from training.ml.loop.early_stopping import EarlyStopping
from training.ml.loop.progress_callback import ProgressCallback, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.samples import ValidationSampler
from training.ml.modeling import quantization
from training.spec import RunSpec


def world_size() -> int:
    """Number of processes of this run, as set by ``accelerate launch``."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process writes events and files."""
    return os.environ.get("RANK", "0") == "0"


def check_machine(spec: RunSpec, device: torch.device, precision: str) -> None:
    """Raises Refused, with the field, where this machine or launch does not support the spec."""
    quantization.check_qlora(spec, device)
    if precision == "fp16" and device.type != "cuda":
        raise Refused(
            "precision: fp16 needs a CUDA device. Choose auto, bf16 or fp32 on this machine.", code="precision"
        )
    if spec.devices != world_size():
        raise Refused(
            f"devices: the spec asks for {spec.devices}, and the number of processes is {world_size()}. Start it with "
            f"`accelerate launch --num_processes {spec.devices} -m training.ml.train SPEC.yaml`, or change devices.",
            code="devices",
        )
    if spec.devices == 1 and device.type == "cuda" and torch.cuda.device_count() > 1:
        raise Refused(
            f"devices: the spec asks for one device and {torch.cuda.device_count()} are visible. Name one in "
            "CUDA_VISIBLE_DEVICES.",
            code="devices",
        )


def build_trainer(
    spec: RunSpec,
    data: EncodedDataset,
    schema: CompiledSchema,
    encoder: Encoder,
    emitter: Emitter,
    stop: StopSignal,
    device: torch.device,
    precision: str,
) -> tuple[ResumableTrainer, ProgressCallback]:
    """The trainer and its progress callback."""
    model = _load_base(spec, precision)
    # The first documents by id, not the shortest ones.
    sampled = sorted(data.validation, key=lambda one: one.row.id)[: spec.sample_documents]
    limit = answer_limit(len(one.completion) for one in data.train)
    sampler = (
        ValidationSampler(sampled, schema=schema, encoder=encoder, limit=limit)
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
        early_stopping=EarlyStopping(spec.early_stopping),
        monitor=TrainingMonitor(memory_limit(device)),
        save_every=spec.save_every,
    )
    trainer = ResumableTrainer(
        model=model,
        args=_arguments(spec, data, device, precision),
        train_dataset=_dataset(data.train),
        eval_dataset=_dataset(data.validation) if data.validation else None,
        processing_class=encoder.tokenizer,
        peft_config=None if spec.method == "full" else _lora(spec),
        callbacks=[progress],
        lengths=[one.length for one in data.train],
    )
    if spec.method == "qlora":
        quantization.cast_trainable_to_fp32(trainer.model)
    progress.attach(trainer)
    return trainer, progress


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


def _dataset(rows: list[EncodedRow]) -> Dataset:
    return Dataset.from_list(
        [
            {
                "input_ids": one.prompt + one.completion,
                "labels": [-100] * len(one.prompt) + one.completion,
            }
            for one in rows
        ]
    )


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


def _arguments(spec: RunSpec, data: EncodedDataset, device: torch.device, precision: str) -> SFTConfig:
    steps = total_steps(spec, len(data.train))
    return SFTConfig(
        output_dir=str(Path(spec.output_dir) / "state"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        max_length=None,  # checked before: TRL truncates silently
        packing=False,
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
