"""One fine-tuning run: ``python -m training.ml.train SPEC.yaml``.

The same spec, data and seed give the same adapter, bit for bit on a CPU. Events are listed in ``training.ml.report``
and below; the output folder holds spec.yaml, environment.json, adapter/ (LoRA) and merged/.

SIGTERM ends the run after the step it is in; what was learned until then is saved. Resuming is not built yet: the
trainer's state would be kept below ``state/``.
"""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, set_seed
from trl import SFTConfig

from slmstudio.contract.schema import CompiledSchema
from training.ml import device as machine
from training.ml import save
from training.ml.checks import check_ref
from training.ml.decode import Loaded
from training.ml.encode import Encoder
from training.ml.events import Emitter, Refused, run_child
from training.ml.lengths import EncodedRow, answer_limit, encode_rows, load_encoder
from training.ml.report import Reporter, StopSignal
from training.ml.rows import compiled, of_split, read_rows
from training.ml.samples import Sampler
from training.ml.trainer import CompletionTrainer, Stopped
from training.spec import RunSpec


@dataclass(frozen=True)
class Data:
    """The rows of a run, encoded. ``left_out``: rows over the limit, with their length in tokens."""

    train: list[EncodedRow]
    validation: list[EncodedRow]
    left_out: list[dict[str, Any]]


def main(spec: RunSpec, emitter: Emitter) -> None:
    """The child process."""
    stop = StopSignal()
    stop.listen()
    started = time.monotonic()
    device = machine.pick_device()
    machine.set_threads()
    precision = machine.resolve_precision(spec.precision, device)
    _check_method(spec, device)
    check_ref(spec.base_model)
    schema = compiled(spec.contract)
    encoder = load_encoder(spec.base_model.path, spec.prompt)
    data = _read(spec, schema, encoder)
    output = Path(spec.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    if not (output / "spec.yaml").exists():  # it may be the very file that this run was given
        (output / "spec.yaml").write_text(spec.to_yaml(), encoding="utf-8")
    save.write_json(output / "environment.json", machine.environment(device, precision))

    set_seed(spec.seed)
    trainer, reporter = _build(spec, data, schema, encoder, emitter, stop, device, precision)
    _announce_start(spec, data, trainer, emitter, device, precision)
    stopped = _train(trainer, reporter, stop)
    steps = trainer.state.global_step
    if stopped:
        if steps == 0:
            raise Refused("stopped", "The run was stopped before its first step; there is nothing to save.")
        emitter.emit("warning", step=steps, message=f"Stopped on request after step {steps}; this state is saved.")
    _save(spec, trainer, output, emitter)
    seconds = round(time.monotonic() - started, 1)
    emitter.emit("done", seconds=seconds, steps=steps, tokens=trainer.tokens_seen, stopped=stopped)


def _check_method(spec: RunSpec, device: torch.device) -> None:
    if spec.method == "qlora" and device.type != "cuda":
        raise Refused("method", "QLoRA needs a CUDA device. Choose LoRA on this machine.")
    if spec.method == "qlora":
        raise Refused("method", "QLoRA is not built yet. Choose LoRA.")


def _read(spec: RunSpec, schema: CompiledSchema, encoder: Encoder) -> Data:
    """Encodes the rows; Refused where there are none or where some are too long and may not be left out."""
    rows = read_rows(spec.dataset.path, spec.dataset.sha256)
    config = AutoConfig.from_pretrained(spec.base_model.path, local_files_only=True, trust_remote_code=False)
    context = getattr(config, "max_position_embeddings", None)
    if context and spec.max_length > context:
        raise Refused("length", f"The model reads {context} tokens at most; max_length is {spec.max_length}.")
    parts, left_out = [], []
    for split in ("train", "validation"):
        encoded = encode_rows(
            of_split(rows, split), instruction=spec.contract.instruction, schema=schema, encoder=encoder
        )
        long = [one for one in encoded if one.length > spec.max_length]
        if long and spec.too_long == "refuse":
            raise Refused("length", _too_long(long, len(encoded), split, spec.max_length))
        left_out += [{"id": one.row.id, "split": split, "tokens": one.length} for one in long]
        parts.append([one for one in encoded if one.length <= spec.max_length])
    if not parts[0]:
        raise Refused("dataset", "There is no training document to learn from.")
    return Data(train=parts[0], validation=sorted(parts[1], key=lambda one: one.length), left_out=left_out)


def _too_long(long: list[EncodedRow], count: int, split: str, limit: int) -> str:
    longest = max(one.length for one in long)
    return (
        f"{len(long)} of {count} {split} documents are longer than {limit} tokens; the longest has {longest}. Raise "
        "the sequence length or choose to leave them out. Nothing is ever cut."
    )


def _build(
    spec: RunSpec,
    data: Data,
    schema: CompiledSchema,
    encoder: Encoder,
    emitter: Emitter,
    stop: StopSignal,
    device: torch.device,
    precision: str,
) -> tuple[CompletionTrainer, Reporter]:
    """The trainer and the callback that reports."""
    model = _load_base(spec, precision)
    # Samples are of the first documents by id, not of the shortest ones.
    shown = sorted(data.validation, key=lambda one: one.row.id)[: spec.sample_documents]
    limit = answer_limit(len(one.completion) for one in data.train)
    sampler = Sampler(shown, schema=schema, encoder=encoder, limit=limit) if shown else None

    def sample() -> dict[str, Any]:
        assert sampler is not None
        inner = trainer.model.get_base_model() if spec.method == "lora" else trainer.model
        inner.eval()
        loaded = Loaded(inner, encoder.tokenizer, device, precision)
        return sampler.sample(loaded, stopped=lambda: stop.set)

    reporter = Reporter(emitter, stop, sample if sampler else None)
    trainer = CompletionTrainer(
        model=model,
        args=_arguments(spec, data, device, precision),
        train_dataset=_dataset(data.train),
        eval_dataset=_dataset(data.validation) if data.validation else None,
        processing_class=encoder.tokenizer,
        peft_config=_lora(spec) if spec.method == "lora" else None,
        callbacks=[reporter],
        lengths=[one.length for one in data.train],
    )
    reporter.attach(trainer)
    return trainer, reporter


def _load_base(spec: RunSpec, precision: str) -> Any:
    """Weights that are not trained are held in the type they are multiplied in; trained ones always in fp32."""
    frozen = spec.method == "lora" and precision == "bf16"
    return AutoModelForCausalLM.from_pretrained(
        spec.base_model.path,
        dtype=torch.bfloat16 if frozen else torch.float32,
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


def total_steps(spec: RunSpec, rows: int) -> int:
    """Optimiser steps of a run over ``rows`` training documents."""
    if spec.max_steps is not None:
        return spec.max_steps
    batches = math.ceil(rows / spec.batch_size)
    return max(1, math.ceil(spec.epochs * math.ceil(batches / spec.accumulation)))


def eval_interval(spec: RunSpec, rows: int) -> int:
    """Steps between two looks at the validation split: a quarter of the run, and at most an epoch."""
    if spec.eval_every is not None:
        return spec.eval_every
    epoch = math.ceil(math.ceil(rows / spec.batch_size) / spec.accumulation)
    return max(1, min(math.ceil(total_steps(spec, rows) / 4), epoch))


def _arguments(spec: RunSpec, data: Data, device: torch.device, precision: str) -> SFTConfig:
    steps = total_steps(spec, len(data.train))
    return SFTConfig(
        output_dir=str(Path(spec.output_dir) / "state"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=False,
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
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=spec.seed,
        data_seed=spec.seed,
        eval_strategy="steps" if data.validation else "no",
        eval_steps=eval_interval(spec, len(data.train)) if data.validation else None,
        prediction_loss_only=True,
        save_strategy="no",
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to="none",
    )


def _announce_start(
    spec: RunSpec, data: Data, trainer: CompletionTrainer, emitter: Emitter, device: torch.device, precision: str
) -> None:
    parameters = list(trainer.model.parameters())
    emitter.emit(
        "start",
        total_steps=total_steps(spec, len(data.train)),
        parameters=sum(one.numel() for one in parameters),
        trainable_parameters=sum(one.numel() for one in parameters if one.requires_grad),
        train_rows=len(data.train),
        validation_rows=len(data.validation),
        left_out=data.left_out,
        device=device.type,
        precision=precision,
        longest=max(one.length for one in data.train),
    )
    if not data.validation:
        message = "There is no validation document: the run shows no validation loss and no samples."
        emitter.emit("warning", step=0, message=message)


def _train(trainer: CompletionTrainer, reporter: Reporter, stop: StopSignal) -> bool:
    """Trains, and looks at the validation split once more at the end; true where it was stopped before."""
    try:
        trainer.train()
        if trainer.eval_dataset is not None and reporter.last_validation != trainer.state.global_step:
            trainer.evaluate()
    except Stopped:
        return trainer.state.global_step < trainer.state.max_steps
    return False


def _save(spec: RunSpec, trainer: CompletionTrainer, output: Path, emitter: Emitter) -> None:
    base = Path(spec.base_model.path)
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if spec.method == "lora":
        save.save_adapter(model, spec.base_model.slug, output / "adapter")
        save.announce(emitter, "adapter", output / "adapter")
        save.merge(base, output / "adapter", output / "merged")
    else:
        save.save_full(model, base, output / "merged")
    save.announce(emitter, "merged", output / "merged")


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, RunSpec.from_yaml, main))
