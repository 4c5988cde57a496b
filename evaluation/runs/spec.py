"""What a generation run is told: a frozen dataclass, YAML on disk, strict in every key. Pure Python."""

from dataclasses import dataclass
from typing import Any, Literal

from training import strict_yaml
from training.spec import ContractRef, ModelRef, Problems, PromptStyle

#: documents that are answered together, here or elsewhere
MOST_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class DocumentsRef:
    """The documents: one split of a dataset file (JSON lines) and the hash of its bytes; empty means not checked.

    ``ids``: where there are some, those documents of the file are meant, whatever their split, in this order.
    """

    path: str
    split: str
    sha256: str = ""
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ExampleRef:
    """One solved example that is shown to the model in front of every document."""

    text: str
    gold: Any


@dataclass(frozen=True, kw_only=True)
class GgufRef:
    """A GGUF file that was made of the model's folder, and the hash of its bytes; empty means not checked."""

    path: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class EvalSpec:
    """One model over the documents of one split.

    ``mode``: free, constrained by the schema's grammar, or grounded: constrained, and fields that are copied from the
    document can be written only as it has them. ``max_new_tokens: auto`` is
    ``max(ceil(1.5 * 1.5 * longest completion of the train split), 64) + 16`` tokens, and when constrained at least
    ``min(output bound in characters, 2048)``, as far as the model's context goes. ``outputs`` is the JSON lines file
    that is written. ``confidence``: also how sure the model was of each field. ``at_once``: documents that are answered
    together, sorted by length. ``gguf``: llama.cpp answers with this file (``evaluation.ml.generate_llama``), and the
    model's folder only says how documents are asked.
    """

    model: ModelRef
    contract: ContractRef
    documents: DocumentsRef
    outputs: str
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    include_schema: bool = False
    examples: tuple[ExampleRef, ...] = ()
    mode: Literal["constrained", "grounded", "free"] = "constrained"
    max_new_tokens: Literal["auto"] | int = "auto"
    seed: int = 17
    confidence: bool = False
    at_once: int = 1
    gguf: GgufRef | None = None

    def problems(self) -> Problems:
        if isinstance(self.max_new_tokens, int) and not 1 <= self.max_new_tokens <= 32768:
            yield "max_new_tokens", "must be auto or between 1 and 32768"
        if not 0 <= self.seed < 2**32:
            yield "seed", "must be between 0 and 4294967295"
        if not 1 <= self.at_once <= MOST_AT_ONCE:
            yield "at_once", f"must be between 1 and {MOST_AT_ONCE}"
        if self.confidence and (self.at_once > 1 or self.gguf is not None):
            yield "confidence", "is known only where one document at a time is answered by the model's own folder"

    def to_yaml(self) -> str:
        """This spec as a YAML text that ``from_yaml`` reads back to an equal spec."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "EvalSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)
