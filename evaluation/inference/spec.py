"""The spec of a generation: a frozen dataclass, YAML on disk, strict in every key. Pure Python."""

from typing import Any, Literal

from pydantic.dataclasses import dataclass

from training.spec import ContractRef, ModelRef, Problems, PromptStyle, WindowPlan
from training.strict_yaml import STRICT, Flag, Spec, Text, Whole

#: documents that are generated concurrently
MAX_CONCURRENCY = 32


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DocumentsRef:
    """The documents: one split of a dataset file (JSON lines) and the hash of its bytes; empty means not checked.

    ``ids``: if not empty, these documents of the file in this order, whatever their split.
    """

    path: Text
    split: Text
    sha256: Text = ""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExampleRef:
    """A few-shot example that precedes every document."""

    text: Text
    gold: Any


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GgufRef:
    """A GGUF file of the model, and the hash of its bytes; empty means not checked."""

    path: Text
    sha256: Text = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvalSpec(Spec):
    """One model over the documents of one split.

    ``mode``: free (unconstrained), constrained by the schema's grammar, or grounded (constrained, and copied fields can
    only hold text from the document). ``max_new_tokens: auto`` is
    ``max(ceil(1.5 * 1.5 * longest completion of the train split), 64) + 16`` tokens, and when constrained at least
    ``min(output bound in characters, 2048)``, within the model's context. ``outputs``: the JSON lines file to write.
    ``confidence``: also write the confidence of each field. ``at_once``: documents per batch, sorted by length.
    ``windows``: how the model was trained to read long documents; None: in windows that its context has room for.
    ``gguf``: llama.cpp loads this file (``evaluation.ml.generate_llama``), and the model's folder only provides the
    tokenizer and chat template. ``precision: auto`` is bf16 where the hardware is faster at it.
    """

    model: ModelRef
    contract: ContractRef
    documents: DocumentsRef
    outputs: Text
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    include_schema: Flag = False
    examples: tuple[ExampleRef, ...] = ()
    mode: Literal["constrained", "grounded", "free"] = "constrained"
    max_new_tokens: Literal["auto"] | Whole = "auto"
    seed: Whole = 17
    confidence: Flag = False
    at_once: Whole = 1
    gguf: GgufRef | None = None
    windows: WindowPlan | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"

    def problems(self) -> Problems:
        if isinstance(self.max_new_tokens, int) and not 1 <= self.max_new_tokens <= 32768:
            yield "max_new_tokens", "must be auto or between 1 and 32768"
        if not 0 <= self.seed < 2**32:
            yield "seed", "must be between 0 and 4294967295"
        if not 1 <= self.at_once <= MAX_CONCURRENCY:
            yield "at_once", f"must be between 1 and {MAX_CONCURRENCY}"
        if self.confidence and (self.at_once > 1 or self.gguf is not None):
            yield "confidence", "is only available with at_once 1 and without gguf"
