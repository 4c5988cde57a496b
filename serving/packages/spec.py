"""The spec of a package: what a serving process needs to answer exactly as the evaluation did. Pure Python."""

from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass

from evaluation.inference.spec import EvalSpec, ExampleRef
from serving.engines import ENGINES
from slmstudio.errors import Refused
from training.spec import ContractRef, ModelRef, Problems, PromptStyle, WindowPlan
from training.strict_yaml import STRICT, Flag, Spec, Text, Whole

#: its name in the folder of a package
FILE = "serve.yaml"
#: the schema of a package, for Ollama
SCHEMA = "schema.json"
#: the file with the outputs of servers whose weights cannot be hashed, from the build
FINGERPRINTS = "evidence/fingerprints.json"


def _known_engine(name: str) -> str:
    if name not in ENGINES:
        raise ValueError(f"must be one of {', '.join(ENGINES)}")
    return name


EngineName = Annotated[Text, AfterValidator(_known_engine)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class OutputTokens:
    """Tokens of an output: ``reserved`` in the model's context for every document, ``maximum`` never exceeded."""

    reserved: Whole
    maximum: Whole


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Grounding:
    """The grounding plan of the evaluation: see ``slmstudio.contract.decoding.grounding.GroundingPlan``."""

    held: dict[Text, tuple[Text, ...]] = field(default_factory=dict)
    left: dict[Text, Text] = field(default_factory=dict)
    known: dict[Text, tuple[Text, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class VariantFile:
    """Another engine of a package, or the same with another file. ``gguf``: "" for an engine that loads weights."""

    key: Text
    engine: EngineName
    gguf: Text = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ServeSpec(Spec):
    """One model and how it answers. Paths are relative to the folder of the package.

    ``model``: the folder with tokenizer and chat template, and the weights where an engine loads them; for an encoder
    with its ONNX files, for scikit-learn that of the classical model: neither has prompts. ``gguf``: the file that
    llama.cpp and Ollama load. ``variants``: further engines and files. ``name``: the model's name on a server that
    serves several. ``context``: tokens of prompt and output together; None: unknown. ``windows``: how it reads
    documents that are too long for one prompt; None: it rejects them.
    """

    engine: EngineName
    contract: ContractRef
    output_tokens: OutputTokens
    model: Text = "model"
    gguf: Text = ""
    name: Text = ""
    key: Text = ""
    variants: tuple[VariantFile, ...] = ()
    version: Literal[1] = 1
    prompt: PromptStyle = "chat"
    include_schema: Flag = False
    examples: tuple[ExampleRef, ...] = ()
    mode: Literal["constrained", "grounded", "free"] = "constrained"
    grounding: Grounding | None = None
    context: Whole | None = None
    windows: WindowPlan | None = None
    seed: Whole = 17

    def problems(self) -> Problems:
        if ENGINES[self.engine].loads == "gguf" and not self.gguf:
            yield "gguf", f"is required by {ENGINES[self.engine].label}"
        if self.mode == "grounded" and self.grounding is None:
            yield "grounding", "is required by grounded decoding"

    def of_variant(self, key: str) -> "ServeSpec":
        """This spec for one of its variants; "": the first one.

        Raises:
            Refused: (code ``variant``) there is no such variant.
        """
        if key in ("", self.key):
            return self
        for variant in self.variants:
            if variant.key == key:
                return replace(self, engine=variant.engine, gguf=variant.gguf, key=variant.key)
        raise Refused(f"The package has no variant {key!r}.", code="variant")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ParityDocument:
    """A document of the evaluation with the output of the evaluated model."""

    id: Text
    text: Text
    raw: Text
    gold: Any


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PackVariant:
    """A variant to build. ``gguf``: the file and its ``name`` in the package, for engines that load one."""

    key: Text
    engine: EngineName
    gguf: ModelRef | None = None
    name: Text = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CalibrationDocument:
    """A document with gold, whose answer shows how far the confidence of the package can be trusted."""

    text: Text
    gold: Any


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PackSpec(Spec):
    """The build of a package from an evaluation.

    ``evaluation``: its EvalSpec. ``model``: the folder of the model. ``variants``: engines and files, the default one
    first. ``parity``: a JSON lines file of ``ParityDocument``. ``name``: the model's name on a server that serves
    several. ``calibration``: a file of ``CalibrationDocument``, "" without.
    """

    evaluation: EvalSpec
    model: ModelRef
    output_dir: Text
    parity: Text
    variants: tuple[PackVariant, ...]
    name: Text = ""
    calibration: Text = ""
    version: Literal[2] = 2
