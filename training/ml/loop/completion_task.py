"""The training of a decoder: base model, adapter, datasets and trainer."""

import os
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig

from slmstudio.contract.schema.compiled import CompiledSchema
from training.ml.data.augmentation import AugmentedRows, EpochOfRows, token_ids
from training.ml.data.encoded_dataset import EncodedDataset, load_dataset
from training.ml.data.encoder import Encoder
from training.ml.decoding.decoder import Loaded
from training.ml.events import Emitter, is_main_process
from training.ml.hardware.device import memory_limit
from training.ml.lengths import EncodedRow, answer_limit, load_encoder
from training.ml.loop import artifacts
from training.ml.loop.progress_callback import ProgressCallback, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.samples import ValidationSampler
from training.ml.loop.task import TrainingTask, lora_config
from training.ml.loop.trainer import CompletionTrainer
from training.ml.modeling import quantization
from training.ml.modeling.compilation import can_compile, compiled_layers, is_worth_compiling
from training.ml.modeling.compute_weights import ComputeWeights, linear_layers
from training.spec import RunSpec


class CompletionTask(TrainingTask):
    """A decoder that learns to write the gold of a document after its prompt."""

    data: EncodedDataset

    def __init__(self, spec: RunSpec, schema: CompiledSchema) -> None:
        """Reads and encodes the dataset. Raises Refused as ``load_dataset``."""
        super().__init__(spec)
        self._schema = schema
        self._encoder = load_encoder(spec.base_model.path, spec.prompt)
        self.data = load_dataset(spec, schema, self._encoder)

    def start_facts(self) -> dict[str, Any]:
        return {"prompt_sha256": self._encoder.template_sha256(instruction=self.spec.contract.instruction)}

    def build_trainer(
        self, emitter: Emitter, stop: StopSignal, device: torch.device, precision: str
    ) -> tuple[ResumableTrainer, ProgressCallback]:
        spec, data, encoder = self.spec, self.data, self._encoder
        model = _load_base(spec, precision)
        # The first documents by id, not the shortest ones.
        sampled = data.validation_documents()[: spec.sample_documents]
        limit = answer_limit(len(row.completion) for row in data.train)
        sampler = (
            ValidationSampler(sampled, schema=self._schema, encoder=encoder, limit=limit, seconds=spec.sample_seconds)
            if sampled and is_main_process()
            else None
        )

        def sample() -> dict[str, Any]:
            assert sampler is not None
            inner = trainer.model if spec.method == "full" else trainer.model.get_base_model()
            inner.eval()
            loaded = Loaded(inner, encoder.tokenizer, device, precision)
            return sampler.sample(loaded, stopped=progress.should_stop_sampling)

        progress = self.progress(emitter, stop, sample if sampler else None, device)
        train_rows, epochs = _train_rows(spec, data, self._schema, encoder)
        trainer = CompletionTrainer(
            model=model,
            args=SFTConfig(
                **self.arguments(device, precision),
                max_length=None,  # checked before: TRL truncates silently
                packing=False,
                dataset_kwargs={"skip_prepare_dataset": True},  # rows are token ids already
            ),
            train_dataset=train_rows,
            eval_dataset=_dataset(data.validation) if data.validation else None,
            processing_class=encoder.tokenizer,
            peft_config=None if spec.method == "full" else lora_config(spec, "CAUSAL_LM"),
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

    def save(self, trainer: ResumableTrainer, output: Path, emitter: Emitter, prefix: str = "") -> None:
        base = Path(self.spec.base_model.path)
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        if self.spec.method == "full":
            artifacts.save_full(model, base, output / "merged")
        else:
            artifacts.save_adapter(model, self.spec.base_model.slug, output / "adapter")
            artifacts.emit_artifact(emitter, f"{prefix}adapter", output / "adapter")
            artifacts.merge(base, output / "adapter", output / "merged")
        artifacts.emit_artifact(emitter, f"{prefix}merged", output / "merged")


def _accelerate(spec: RunSpec, data: EncodedDataset, trainer: CompletionTrainer, precision: str) -> None:
    """Copies of weights, and compiled layers for a long training: the same for every attempt of a run on this machine,
    as compiled layers round differently.
    """
    if precision == "bf16":
        trainer.compute_weights = ComputeWeights(linear_layers(trainer.model), torch.bfloat16)
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
