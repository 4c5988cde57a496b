"""Specs of training processes: frozen dataclasses, stored as strict YAML.

One file reproduces a run outside the application: ``python -m training.ml.train SPEC.yaml``. Pure Python.
"""

import math
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from training.hyperparameters.definitions import Alpha, Dropout, Rank, TrainingSettings
from training.strict_yaml import STRICT, Flag, Number, Spec, Text, Whole
from training.strict_yaml import SpecError as SpecError

Problems = Iterator[tuple[str, str]]
PromptStyle = Literal["chat", "plain"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelRef:
    """A prepared model folder. ``sha256``: its folder hash; empty: not checked."""

    path: Text
    sha256: Text = ""
    slug: Text = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DatasetRef:
    """A frozen dataset file (JSON lines) and the hash of its bytes; empty: not checked."""

    path: Text
    sha256: Text = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ContractRef:
    """The task: instruction and JSON Schema. ``schema_sha256`` as in ``compile_schema().hash``."""

    instruction: Text
    schema: dict[str, Any]
    schema_sha256: Text = ""

    def problems(self) -> Problems:
        if not self.instruction.strip():
            yield "instruction", "is empty"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Lora:
    """A low-rank adapter of rank ``r``, scaled by ``alpha / r`` (arXiv:2106.09685). ``targets``: names of modules."""

    r: Rank = 16
    alpha: Alpha = 32
    dropout: Dropout = 0.0
    targets: Literal["all-linear"] | tuple[Text, ...] = "all-linear"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WindowPlan:
    """How a model reads documents that are too long for one prompt.

    ``size``: tokens of the text of a window. ``whole``: tokens of the longest prompt that is read as one; None: as far
    as the context goes. ``answer``: tokens of the longest output that is known; 0: unknown.
    """

    size: Annotated[Whole, Field(ge=1)]
    whole: Whole | None = None
    answer: Whole = 0


#: what the application adds to the folder of a model that a run has saved: card, lineage, environment
CARD_FILES = ("README.md", "lineage.json", "environment.json")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HybridRef:
    """Two trained models that answer as one: the encoder first, the decoder where it is unsure.

    ``thresholds``: by field of the contract, the probability of the encoder's value below which the decoder answers. A
    field without one is always the decoder's.
    """

    encoder: ModelRef
    decoder: ModelRef
    thresholds: dict[Text, Number]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunSpec(Spec, TrainingSettings):
    """One fine-tuning run.

    ``batch_size``: rows per device; ``batch_size * accumulation`` rows per device make one optimizer step. On a CPU
    batches are split into micro-batches (``training.estimates.memory``) with the same gradient. ``max_length``:
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
    larger one. ``without_heads``: fields that an encoder does not answer, by pattern. ``hybrid``: nothing
    is trained; the result is a model of two trained ones.
    """

    base_model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    output_dir: Text
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    lora: Lora = field(default_factory=Lora)
    max_steps: Annotated[Whole | None, Field(ge=1)] = None
    keep_best_and_last: Flag = False
    silver: DatasetRef | None = None
    without_heads: tuple[Text, ...] = ()
    hybrid: HybridRef | None = None

    def problems(self) -> Problems:
        if self.best_metric == "field_accuracy" and self.sample_documents == 0:
            yield "sample_documents", "must be at least 1 where best_metric is field_accuracy"

    def steps(self, rows: int) -> int:
        return super().steps(rows) if self.max_steps is None else self.max_steps

    def eval_interval(self, rows: int) -> int:
        """Steps between two evaluations: a quarter of the run, at most an epoch."""
        default = max(1, min(math.ceil(self.steps(rows) / 4), self.steps_per_epoch(rows)))
        return default if self.eval_every is None else self.eval_every


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LengthsSpec(Spec):
    """Measures every row of a dataset in tokens of one model; writes JSON lines to ``output``."""

    base_model: ModelRef
    dataset: DatasetRef
    contract: ContractRef
    output: Text
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PrepareSpec(Spec):
    """Prepares a base model in a clean, checked folder.

    ``source`` is the slug of a packaged model, a local folder, or a hub id (with ``revision``), as ``kind`` says.
    ``offline`` rejects a hub id without network access. ``max_gb``: maximum size of a download, 0 for no limit.
    """

    kind: Literal["packaged", "local", "hub", "tiny"]
    source: Text
    output_dir: Text
    version: Literal[1] = 1
    revision: Text = "main"
    offline: Flag = False
    max_gb: Number = 0.0

    def problems(self) -> Problems:
        if not self.source.strip():
            yield "source", "is empty"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VerifySpec(Spec):
    """Verifies a prepared model folder.

    ``sha256``: its expected hash (empty: not checked). ``gguf``: a GGUF file to compare with, or ``package``: the
    packaged model whose file is used.
    """

    path: Text
    version: Literal[1] = 1
    sha256: Text = ""
    prompt: PromptStyle = "chat"
    gguf: Text = ""
    package: Text = ""
