"""The training of an encoder: base model, heads, windows and trainer."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from safetensors.torch import save_file
from transformers import AutoModel, AutoTokenizer, PrinterCallback, TrainingArguments

from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.contract.scoring import scorer
from slmstudio.errors import Refused
from training import model_shape
from training.hyperparameters.definitions import ENCODER_WINDOW
from training.ml.data.augmentation import Augmentation, EpochOfRows
from training.ml.data.rows import Row
from training.ml.encoders.data import EncoderDataset, TrainingWindows, WindowLabeler, load_dataset, whole_documents
from training.ml.encoders.decision_start import fit_decision_heads
from training.ml.encoders.folder import HEADS
from training.ml.encoders.network import EncoderWithHeads
from training.ml.encoders.predictor import Predictor, TorchScorer
from training.ml.encoders.trainer import EncoderTrainer, Numbered, WindowCollator
from training.ml.events import Emitter, is_main_process
from training.ml.loop import artifacts
from training.ml.loop.progress_callback import ProgressCallback, StopSignal
from training.ml.loop.resumable_trainer import ResumableTrainer
from training.ml.loop.samples import sample_row, sampled_scores
from training.ml.loop.task import TrainingTask, lora_config
from training.ml.modeling.compute_weights import ComputeWeights
from training.spec import RunSpec


class EncoderTask(TrainingTask):
    """An encoder that learns to answer the fields of a contract with heads."""

    data: EncoderDataset

    def __init__(self, spec: RunSpec, schema: CompiledSchema) -> None:
        """Reads and labels the dataset.

        Raises:
            Refused: as ``load_dataset``; or the tokenizer gives no offsets, or the method is none of encoders.
        """
        super().__init__(spec)
        if spec.method == "qlora":
            raise Refused("method: an encoder is trained with full or lora.", code="method")
        self._schema = schema
        self._base = Path(spec.base_model.path)
        self._tokenizer = load_tokenizer(self._base)
        self._size = min(spec.max_length, ENCODER_WINDOW, context_of(self._base))
        self._labeler: WindowLabeler
        self.data = load_dataset(spec, schema, self._tokenizer.backend_tokenizer, self._size)
        self._labeler = WindowLabeler(self._tokenizer.backend_tokenizer, self.data.heads, self._size)

    def start_facts(self) -> dict[str, Any]:
        """``heads``: by field, its kind, and training documents that it learns from, of those that have a value;
        ``unanswered``: fields without a head, and why.
        """
        data = self.data
        return {
            "heads": [
                {"field": head.pattern, "kind": head.kind, "located": list(data.located[head.pattern])}
                for head in data.heads
                if head.pattern in data.located
            ],
            "unanswered": {item.pattern: item.reason for item in data.plan.unanswered},
        }

    def build_trainer(
        self, emitter: Emitter, stop: StopSignal, device: torch.device, precision: str
    ) -> tuple[ResumableTrainer, ProgressCallback]:
        spec, data = self.spec, self.data
        model = self._new_model()
        sampled = data.validation_documents()[: spec.sample_documents]
        sample = self._sampler(model, sampled, precision, lambda: progress.should_stop_sampling())
        progress = self.progress(emitter, stop, sample if sampled and is_main_process() else None, device)
        windows = TrainingWindows(data, self._labeler, self._augmentation())
        collate = WindowCollator(
            data.heads, self._tokenizer.pad_token_id or 0, in_parts=device.type == "cpu" and spec.devices == 1
        )
        fit_decision_heads(model, data.train, collate, device)
        trainer = EncoderTrainer(
            model=model,
            args=TrainingArguments(
                **{**self.arguments(device, precision), "gradient_checkpointing": False}
            ),  # set already
            data_collator=collate,
            train_dataset=Numbered(len(data.train), windows.window),
            eval_dataset=Numbered(len(data.validation), data.validation.__getitem__) if data.validation else None,
            callbacks=[progress, EpochOfRows(windows, spec.steps_per_epoch(len(data.train)))],
            lengths=[item.length for item in data.train],
        )
        trainer.remove_callback(PrinterCallback)  # prints what the events say
        if spec.method == "full" and device.type == "cpu" and spec.devices == 1 and precision == "bf16":
            linears = [layer for layer in model.encoder.modules() if type(layer) is torch.nn.Linear]
            trainer.compute_weights = ComputeWeights(linears, torch.bfloat16)
        if spec.weight_averaging == "ema":
            trainer.average_weights(spec.ema_decay)
        progress.attach(trainer)
        return trainer, progress

    def _new_model(self) -> EncoderWithHeads:
        encoder = without_dropout(load_base(self._base))
        if self.spec.method == "lora":
            encoder = get_peft_model(encoder, lora_config(self.spec, "FEATURE_EXTRACTION"))
        if self.spec.activation_checkpointing:
            encoder.gradient_checkpointing_enable()
        return EncoderWithHeads(encoder, self.data.heads, self.data.description.longest)

    def _augmentation(self) -> Augmentation | None:
        if self.spec.augmentation == "none":
            return None
        rows = [self.data.train[number].row for number in whole_documents(self.data.train)]
        return Augmentation(rows, self._schema, self.spec.seed)

    def _sampler(
        self, model: EncoderWithHeads, documents: Sequence[Row], precision: str, stopped: Callable[[], bool]
    ) -> Callable[[], dict[str, Any]]:
        """Gives the values of a ``samples`` event: rows, field_exact, schema_valid."""
        predictor = Predictor(
            self.data.description,
            self._schema,
            self._tokenizer.backend_tokenizer,
            TorchScorer(model, self._tokenizer.pad_token_id or 0, precision),
        )

        def sample() -> dict[str, Any]:
            model.eval()
            scores: list[scorer.DocumentScore] = []
            rows: list[dict[str, Any]] = []
            began = time.monotonic()
            for row in documents:
                late = self.spec.sample_seconds is not None and time.monotonic() - began >= self.spec.sample_seconds
                if stopped() or (scores and late):
                    break
                raw = predictor.predict(row.text).text
                score = scorer.score_document(self._schema, text=row.text, gold=row.gold, raw=raw, finish_reason="stop")
                scores.append(score)
                rows.append(sample_row(row.id, raw, score))
            return sampled_scores(rows, scores)

        return sample

    def save(self, trainer: ResumableTrainer, output: Path, emitter: Emitter, prefix: str = "") -> None:
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        folder = output / "merged"
        encoder = model.encoder if self.spec.method == "full" else model.encoder.merge_and_unload(safe_merge=True)

        def add_heads(folder: Path) -> None:
            heads = {name: value.detach().contiguous() for name, value in model.head_state().items()}
            save_file(heads, folder / HEADS)
            self.data.description.save(folder, self.data.heads)

        artifacts.save_model(encoder, self._base, folder, add=add_heads)
        artifacts.emit_artifact(emitter, f"{prefix}merged", folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder. Raises Refused where it gives no offsets."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not tokenizer.is_fast:
        raise Refused("The tokenizer gives no offsets. Choose a model with a tokenizer.json.", code="model")
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def load_base(folder: Path) -> Any:
    """A pretrained encoder in fp32, without the head and the pooler that it was pretrained with."""
    encoder = AutoModel.from_pretrained(
        folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True
    )
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return encoder


def without_dropout(encoder: Any) -> Any:
    """The encoder with its dropout off, as newer ones are (ModernBERT): on a CPU the random numbers for all pairs of
    tokens took half the time of a step, and attention with them is not fused. The heads have a dropout of their own.
    """
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return encoder


def context_of(folder: Path) -> int:
    """Tokens that an encoder reads at most."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return model_shape.context_of(config) or ENCODER_WINDOW
