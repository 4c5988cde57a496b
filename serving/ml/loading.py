"""Loads the package of a folder: its spec, verified files, prompt builder and engine; and checks a started engine.

An engine that ignores a grammar answers 200 with free text, so it is asked for a constant that no model would write by
itself. The files of a model on a server elsewhere cannot be hashed: its fingerprint is its greedy outputs for fixed
texts, recorded when the variant passes its parity check, and compared when a replica starts. Two nearly equal tokens
can swap on another processor or in another batch, so one of them may differ.
"""

import json
import secrets
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder, TokenLimit
from serving.engines import ENGINES
from serving.ml.engines.engine import DecodingEngine, Engine
from serving.packages.spec import FILE, FINGERPRINTS, ServeSpec
from slmstudio.contract.decoding.grounding import GroundingPlan
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.ml.data.rows import compiled
from training.ml.lengths import load_encoder
from training.ml.llama_cpp.runtime import TEXTS

_TEXTS = TEXTS[:3]
#: outputs that must be equal
_EQUAL = 2
#: tokens of the constant that an engine is asked for
_TOKENS = 48


@dataclass(frozen=True)
class LoadedPackage:
    """A package whose files were verified, ready to start its engine. ``builder``: of its prompts; None for encoders
    and classical models, which have none.
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
    schema, builder = compiled(spec.contract), None
    if ENGINES[spec.engine].family == "decoder":
        encoder = load_encoder(str(folder / spec.model), spec.prompt)
        limit = TokenLimit(spec.output_tokens.reserved, spec.output_tokens.maximum)
        plan = spec.grounding
        ground = None if plan is None else GroundingPlan(plan.held, plan.left, plan.known)
        builder = PromptBuilder(spec, schema, encoder, spec.context, limit, ground, windows=spec.windows)
    # Imported here: a llama.cpp replica takes a tenth of the memory without torch.
    module, _, name = ENGINES[spec.engine].runner.partition(".")
    runner: Any = getattr(import_module(f"serving.ml.engines.{module}"), name)
    return LoadedPackage(spec, own, schema, runner(folder, spec, builder, slots=slots), builder)


async def fingerprint(package: LoadedPackage) -> list[str]:
    """The outputs of a started package for the fixed texts.

    Raises:
        Refused: (code ``engine``) the engine fails.
    """
    outputs = []
    for text in _TEXTS:
        answer = await package.engine.answer(text)
        if answer.finish_reason == "error":
            raise Refused(answer.error, code="engine")
        outputs.append(answer.raw)
    return outputs


async def check_fingerprint(folder: Path, package: LoadedPackage) -> None:
    """Compares a server elsewhere with the build; does nothing for engines that load the package's own files.

    Raises:
        Refused: (code ``identity``) it serves another model.
    """
    if not getattr(package.engine, "is_remote", False):
        return
    file = folder / FINGERPRINTS
    recorded = json.loads(file.read_text(encoding="utf-8")).get(package.spec.key, []) if file.is_file() else []
    outputs = await fingerprint(package)
    if sum(old == new for old, new in zip(recorded, outputs, strict=False)) < _EQUAL:
        raise Refused("The server's outputs differ from those of the checked model.", code="identity")


async def check_enforcement(engine: DecodingEngine) -> None:
    """Raises Refused (code ``enforcement``) where the engine does not keep to a JSON Schema."""
    nonce = secrets.token_hex(6)
    schema = {
        "type": "object",
        "properties": {"nonce": {"const": nonce}},
        "required": ["nonce"],
        "additionalProperties": False,
    }
    output = await engine.answer_prompt("Write a word.\n", json.dumps(schema), _TOKENS)
    try:
        value = json.loads(output)
    except ValueError:
        value = None
    if value != {"nonce": nonce}:
        raise Refused(
            f"The engine does not apply the schema: instead of a constant it wrote {output[:80]!r}.", code="enforcement"
        )
