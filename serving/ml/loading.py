"""Loads the package of a folder: its spec, verified files, prompt builder and engine."""

from dataclasses import dataclass
from pathlib import Path

from evaluation.ml.prompts import PromptBuilder, TokenLimit
from serving.ml.engines.engine import DecodingEngine, Engine
from serving.ml.engines.llama_cpp import LlamaCppEngine
from serving.ml.probe import check_enforcement
from serving.packages.spec import FILE, ServeSpec
from slmstudio.contract.decoding.grammar import exceeds_optional_limit
from slmstudio.contract.decoding.grounding import GroundingPlan
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.ml.data.encoder import Encoder
from training.ml.data.rows import compiled
from training.ml.lengths import load_encoder


@dataclass(frozen=True)
class LoadedPackage:
    """A package whose files were verified, ready to start its engine. ``builder``: of its prompts; None for a classical
    model, which has none.
    """

    spec: ServeSpec
    sha256: str
    schema: CompiledSchema
    engine: Engine
    builder: PromptBuilder | None = None

    async def start(self) -> None:
        """Loads the model, and checks that the engine applies a schema.

        Raises:
            Refused: the engine does not start, or (code ``enforcement``) ignores the schema.
        """
        await self.engine.start()
        if isinstance(self.engine, DecodingEngine):
            await check_enforcement(self.engine)


def load_package(folder: Path, *, sha256: str = "", slots: int = 1, variant: str = "") -> LoadedPackage:
    """Reads a package. ``sha256``: its folder hash; empty: not checked. ``slots``: concurrent documents.

    ``variant``: the key of the engine and file to use; "": the first one.

    Raises:
        Refused: the folder is missing or changed, or the engine cannot serve the schema.
        SpecError: its spec is not valid.
    """
    if not (folder / FILE).is_file():
        raise Refused(f"There is no package in the folder {folder.name}.", code="package")
    own = folder_hash(folder)
    if sha256 and own != sha256:
        raise Refused(
            f"The files of the package have changed: their hash is {own[:12]}, the recorded hash is {sha256[:12]}.",
            code="package",
        )
    spec = ServeSpec.from_yaml((folder / FILE).read_text(encoding="utf-8")).of_variant(variant)
    schema = compiled(spec.contract)
    if spec.engine == "sklearn":
        from serving.ml.engines.sklearn import SklearnEngine

        return LoadedPackage(spec, own, schema, SklearnEngine(folder / spec.model, schema))
    encoder = load_encoder(str(folder / spec.model), spec.prompt)
    limit = TokenLimit(spec.output_tokens.reserved, spec.output_tokens.maximum)
    plan = spec.grounding
    ground = None if plan is None else GroundingPlan(plan.held, plan.left, plan.known)
    builder = PromptBuilder(spec, schema, encoder, spec.context, limit, ground, windows=spec.windows)
    return LoadedPackage(spec, own, schema, _engine(folder, spec, builder, encoder, slots), builder)


def _engine(folder: Path, spec: ServeSpec, builder: PromptBuilder, encoder: Encoder, slots: int) -> Engine:
    """The engine of a spec. Modules are imported where they are used: a llama.cpp replica takes a tenth of the memory
    without torch.
    """
    if spec.engine == "llama_cpp":
        if spec.mode != "free" and exceeds_optional_limit(builder.schema.schema):
            raise Refused(
                "llama.cpp does not support that many optional fields. Serve the weights instead.", code="schema"
            )
        return LlamaCppEngine(folder / spec.gguf, builder, encoder, slots=slots)
    if spec.engine == "vllm":
        from serving.ml.engines.vllm import VllmEngine

        return VllmEngine(folder / spec.model, spec, builder, encoder)
    if spec.engine == "ollama":
        from serving.ml.engines.ollama import OllamaEngine

        return OllamaEngine(folder / spec.gguf, spec, builder, slots=slots)
    from serving.ml.engines.transformers import TransformersEngine

    return TransformersEngine(folder / spec.model, builder, encoder)
