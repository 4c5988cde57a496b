"""Specs of training processes: frozen dataclasses, stored as strict YAML.

One file reproduces a run outside the application: ``python -m training.ml.train SPEC.yaml``. Pure Python.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from training import strict_yaml
from training.strict_yaml import SpecError as SpecError

Problems = Iterator[tuple[str, str]]
PromptStyle = Literal["chat", "plain"]


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A prepared model folder. ``sha256``: its folder hash; empty: not checked."""

    path: str
    sha256: str = ""
    slug: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetRef:
    """A frozen dataset file (JSON lines) and the hash of its bytes; empty: not checked."""

    path: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class ContractRef:
    """The task: instruction and JSON Schema. ``schema_sha256`` as in ``compile_schema().hash``."""

    instruction: str
    schema: dict[str, Any]
    schema_sha256: str = ""

    def problems(self) -> Problems:
        if not self.instruction.strip():
            yield "instruction", "is empty"


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank adapter of rank ``r``, scaled by ``alpha / r`` (arXiv:2106.09685). ``targets``: names of modules."""

    r: int = 16
    alpha: int = 32
    dropout: float = 0.0
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    def problems(self) -> Problems:
        if not 1 <= self.r <= 1024:
            yield "r", "must be between 1 and 1024"
        if self.alpha < 1:
            yield "alpha", "must be at least 1"
        if not 0 <= self.dropout < 1:
            yield "dropout", "must be at least 0 and below 1"


@dataclass(frozen=True, kw_only=True)
class WindowPlan:
    """How a model reads documents that are too long for one prompt.

    ``size``: tokens of the text of a window. ``whole``: tokens of the longest prompt that is read as one; None: as far
    as the context goes. ``answer``: tokens of the longest output that is known; 0: unknown.
    """

    size: int
    whole: int | None = None
    answer: int = 0

    def problems(self) -> Problems:
        if self.size < 1:
            yield "size", "must be at least 1 token"


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One fine-tuning run.

    ``batch_size``: rows per device; ``batch_size * accumulation`` rows per device make one optimizer step. On a CPU
    batches are split into micro-batches (``training.estimates.micro_batch``) with the same gradient. ``max_length``:
    tokens of prompt and completion together. A longer document becomes a row for each of its windows (``too_long:
    windows``), stops the run (``refuse``), or is dropped and counted (``leave_out``); it is never truncated.
    ``max_steps`` overrides ``epochs``. ``eval_every``: steps between evaluations; by default four per run, and at least
    one per epoch. ``save_every``: steps between checkpoints; by default after each
    evaluation and every five minutes. ``early_stopping``: evaluations in a row without a better one before the run
    stops; the weights of the best one are saved. ``best_metric``: what better means; with ``field_accuracy``, of the
    scored documents, the best weights are saved without early stopping, too. ``weight_averaging``: ``ema`` evaluates
    and saves an exponential moving average of the weights, with the decay ``ema_decay`` per step.
    ``augmentation``: ``exchange`` trains on changed copies of the documents in every second epoch
    (``training.ml.data.augmentation``). ``keep_best_and_last``: the weights of the best evaluation and of the last step
    are both saved where they differ.
    ``sample_documents``: validation documents whose outputs are scored at each evaluation, as many as fit into
    ``sample_seconds`` at the first one. ``devices``: GPUs of one machine that share each step.
    ``silver``: rows with labels of models (``labeling.datasets.silver``) that are trained on, too; of these, longer
    rows never stop the run. ``train_share``: of the training rows, drawn by the seed; a smaller share is a subset of a
    larger one.
    """

    base_model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    output_dir: str
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    method: Literal["lora", "qlora", "full"] = "lora"
    lora: Lora = field(default_factory=Lora)
    max_length: int = 1024
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 1.0e-3
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = 0.05
    epochs: float = 3.0
    max_steps: int | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    activation_checkpointing: bool = False
    devices: int = 1
    seed: int = 17
    eval_every: int | None = None
    save_every: int | None = None
    early_stopping: int | None = None
    best_metric: Literal["validation_loss", "field_accuracy"] = "validation_loss"
    weight_averaging: Literal["none", "ema"] = "none"
    ema_decay: float = 0.99
    augmentation: Literal["none", "exchange"] = "none"
    keep_best_and_last: bool = False
    sample_documents: int = 4
    sample_seconds: int | None = None
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    too_long: Literal["windows", "refuse", "leave_out"] = "windows"
    silver: DatasetRef | None = None
    train_share: float = 1.0

    def problems(self) -> Problems:
        for name in ("batch_size", "accumulation", "devices"):
            if getattr(self, name) < 1:
                yield name, "must be at least 1"
        if self.max_length < 16:
            yield "max_length", "must be at least 16 tokens"
        if not 0 < self.learning_rate <= 1:
            yield "learning_rate", "must be above 0 and at most 1"
        if not 0 <= self.warmup_ratio < 1:
            yield "warmup_ratio", "must be at least 0 and below 1"
        if not 0 < self.train_share <= 1:
            yield "train_share", "must be above 0 and at most 1"
        if not 0 < self.ema_decay < 1:
            yield "ema_decay", "must be above 0 and below 1"
        if self.epochs <= 0:
            yield "epochs", "must be above 0"
        for name in ("max_steps", "eval_every", "save_every", "early_stopping", "sample_seconds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                yield name, "must be at least 1"
        if not 0 <= self.seed < 2**32:
            yield "seed", "must be between 0 and 4294967295"
        if self.sample_documents < 0:
            yield "sample_documents", "must not be negative"
        if self.best_metric == "field_accuracy" and self.sample_documents == 0:
            yield "sample_documents", "must be at least 1 where best_metric is field_accuracy"

    def to_yaml(self) -> str:
        """This spec as a YAML text that ``from_yaml`` reads back to an equal spec."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "RunSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)


@dataclass(frozen=True, kw_only=True)
class LengthsSpec:
    """Measures every row of a dataset in tokens of one model; writes JSON lines to ``output``."""

    base_model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    output: str
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"

    def to_yaml(self) -> str:
        """This spec as YAML."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "LengthsSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)


@dataclass(frozen=True, kw_only=True)
class PrepareSpec:
    """Prepares a base model in a clean, checked folder.

    ``source`` is the slug of a packaged model, a local folder, or a hub id (with ``revision``), as ``kind`` says.
    ``offline`` rejects a hub id without network access. ``most_gb``: maximum size of a download, 0 for no limit.
    """

    kind: Literal["packaged", "local", "hub", "tiny"]
    source: str
    output_dir: str
    version: Literal[1] = 1
    revision: str = "main"
    offline: bool = False
    most_gb: float = 0.0

    def problems(self) -> Problems:
        if not self.source.strip():
            yield "source", "is empty"

    def to_yaml(self) -> str:
        """This spec as YAML."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "PrepareSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)


@dataclass(frozen=True, kw_only=True)
class VerifySpec:
    """Verifies a prepared model folder.

    ``sha256``: its expected hash (empty: not checked). ``gguf``: a GGUF file to compare with, or ``package``: the
    packaged model whose file is used.
    """

    path: str
    version: Literal[1] = 1
    sha256: str = ""
    prompt: PromptStyle = "chat"
    gguf: str = ""
    package: str = ""

    def to_yaml(self) -> str:
        """This spec as YAML."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "VerifySpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)
