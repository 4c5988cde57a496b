"""The spec of a package: what a serving process needs to answer exactly as the evaluation did. Pure Python."""

from dataclasses import dataclass, field
from typing import Any, Literal

from evaluation.inference.spec import EvalSpec, ExampleRef
from training import strict_yaml
from training.spec import ContractRef, ModelRef, Problems, PromptStyle

#: its name in the folder of a package
FILE = "serve.yaml"
#: files of a package that answers without the studio
SCRIPT, PROMPT, SCHEMA, GRAMMAR = "extract.py", "prompt.json", "schema.json", "grammar.lark"
ENGINES = ("llama_cpp", "transformers")


@dataclass(frozen=True, kw_only=True)
class OutputTokens:
    """Tokens of an output: ``reserved`` in the model's context for every document, ``maximum`` never exceeded."""

    reserved: int
    maximum: int


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """The grounding plan of the evaluation: see ``slmstudio.contract.decoding.grounding.GroundingPlan``."""

    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ServeSpec:
    """One model and how it answers. Paths are relative to the folder of the package.

    ``model``: the folder with tokenizer and chat template, and for transformers the weights. ``gguf``: the file that
    llama.cpp loads. ``context``: tokens of prompt and output together; None: unknown.
    """

    engine: Literal["llama_cpp", "transformers"]
    contract: ContractRef
    output_tokens: OutputTokens
    model: str = "model"
    gguf: str = ""
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    include_schema: bool = False
    examples: tuple[ExampleRef, ...] = ()
    mode: Literal["constrained", "grounded", "free"] = "constrained"
    grounding: Grounding | None = None
    context: int | None = None
    seed: int = 17

    def problems(self) -> Problems:
        if self.engine == "llama_cpp" and not self.gguf:
            yield "gguf", "is required by llama.cpp"
        if self.mode == "grounded" and self.grounding is None:
            yield "grounding", "is required by grounded decoding"

    def to_yaml(self) -> str:
        """This spec as a YAML text that ``from_yaml`` reads back to an equal spec."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "ServeSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)


@dataclass(frozen=True, kw_only=True)
class ParityDocument:
    """A document of the evaluation with the output of the evaluated model."""

    id: str
    text: str
    raw: str
    gold: Any


@dataclass(frozen=True, kw_only=True)
class PackSpec:
    """The build of a package from an evaluation.

    ``evaluation``: its EvalSpec. ``model``: the folder of the model. ``gguf``: the file for llama.cpp, None for
    transformers. ``parity``: a JSON lines file of ``ParityDocument``.
    """

    evaluation: EvalSpec
    engine: Literal["llama_cpp", "transformers"]
    model: ModelRef
    output_dir: str
    parity: str
    gguf: ModelRef | None = None
    version: Literal[1] = 1

    def to_yaml(self) -> str:
        """This spec as a YAML text that ``from_yaml`` reads back to an equal spec."""
        return strict_yaml.to_yaml(self)

    @classmethod
    def from_yaml(cls, text: str) -> "PackSpec":
        """Raises SpecError naming the field."""
        return strict_yaml.from_yaml(cls, text)
