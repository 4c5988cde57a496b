"""Puts a run together: the model with what is trained of it, the trainer and the callback that reports."""

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
from training.ml.data.encoded_dataset import Data
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Loaded
from training.ml.events import Emitter
from training.ml.hardware.memory_limit import memory_limit
from training.ml.lengths import EncodedRow, answer_limit
from training.ml.loop.curve_warnings import Watch
from training.ml.loop.early_stopping import Looks
from training.ml.loop.progress_callback import Reporter, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.samples import Sampler
from training.ml.modeling import quantization
from training.spec import RunSpec


def world_size() -> int:
    """Processes that share this run, as ``accelerate launch`` says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this is the process that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def check_machine(spec: RunSpec, device: torch.device, precision: str) -> None:
    """Refused, naming the field, where the spec asks for what this machine or this launch does not have."""
    quantization.check(spec, device)
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


def build(
    spec: RunSpec,
    data: Data,
    schema: CompiledSchema,
    encoder: Encoder,
    emitter: Emitter,
    stop: StopSignal,
    device: torch.device,
    precision: str,
) -> tuple[ResumableTrainer, Reporter]:
    """The trainer and the callback that reports."""
    model = _load_base(spec, precision)
    # Samples are of the first documents by id, not of the shortest ones.
    shown = sorted(data.validation, key=lambda one: one.row.id)[: spec.sample_documents]
    limit = answer_limit(len(one.completion) for one in data.train)
    sampler = Sampler(shown, schema=schema, encoder=encoder, limit=limit) if shown and leads() else None

    def sample() -> dict[str, Any]:
        assert sampler is not None
        inner = trainer.model if spec.method == "full" else trainer.model.get_base_model()
        inner.eval()
        loaded = Loaded(inner, encoder.tokenizer, device, precision)
        return sampler.sample(loaded, stopped=reporter.stop_sampling)

    reporter = Reporter(
        emitter,
        stop,
        sample if sampler else None,
        looks=Looks(spec.early_stopping),
        watch=Watch(memory_limit(device)),
        save_every=spec.save_every,
    )
    trainer = ResumableTrainer(
        model=model,
        args=_arguments(spec, data, device, precision),
        train_dataset=_dataset(data.train),
        eval_dataset=_dataset(data.validation) if data.validation else None,
        processing_class=encoder.tokenizer,
        peft_config=None if spec.method == "full" else _lora(spec),
        callbacks=[reporter],
        lengths=[one.length for one in data.train],
    )
    if spec.method == "qlora":
        quantization.train_in_full(trainer.model)
    reporter.attach(trainer)
    return trainer, reporter


def _load_base(spec: RunSpec, precision: str) -> Any:
    """Weights that are not trained are held in the type they are multiplied in; trained ones always in fp32."""
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


def steps_of_epoch(spec: RunSpec, rows: int) -> int:
    """Optimiser steps in which every one of ``rows`` documents is seen once."""
    batches = math.ceil(math.ceil(rows / spec.batch_size) / spec.devices)
    return math.ceil(batches / spec.accumulation)


def total_steps(spec: RunSpec, rows: int) -> int:
    """Optimiser steps of a run over ``rows`` training documents."""
    if spec.max_steps is not None:
        return spec.max_steps
    return max(1, math.ceil(spec.epochs * steps_of_epoch(spec, rows)))


def eval_interval(spec: RunSpec, rows: int) -> int:
    """Steps between two looks at the validation split: a quarter of the run, and at most an epoch."""
    if spec.eval_every is not None:
        return spec.eval_every
    return max(1, min(math.ceil(total_steps(spec, rows) / 4), steps_of_epoch(spec, rows)))


def _arguments(spec: RunSpec, data: Data, device: torch.device, precision: str) -> SFTConfig:
    steps = total_steps(spec, len(data.train))
    return SFTConfig(
        output_dir=str(Path(spec.output_dir) / "state"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        max_length=None,  # checked before: TRL would cut in silence
        packing=False,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.accumulation,
        gradient_checkpointing=spec.activation_checkpointing,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=spec.scheduler,
        warmup_steps=round(spec.warmup_ratio * steps),
        max_steps=steps,
        optim="adamw_torch_fused",  # one pass over the weights, where the other takes a tenth of a step for a dozen
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
        report_to="none",  # trackers follow our events
    )
