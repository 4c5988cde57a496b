"""Builds a package: ``python -m serving.ml.pack SPEC.yaml`` with a ``PackSpec``.

Files are linked where the disk allows it, else copied. Then the package is loaded as a replica would load it, and
answers documents of its evaluation again, with each of its variants. Events: ``progress`` {stage, done, total},
``parity`` (``variant``, the fields of ``Parity``, ``engine``; the package is complete even where parity is bad:
services decide), ``variant_failed`` {variant, message}: it is left out of the deployment. Labeled documents calibrate
the confidence of each variant: ``calibration`` {variant, file}.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.ml.calibrate import calibrate_package, read_documents
from serving.ml.engines.llama_cpp import LlamaCppEngine
from serving.ml.fingerprint import fingerprint
from serving.ml.loading import load_package
from serving.ml.prompt_template import write_template
from serving.ml.standalone import write_program
from serving.packages.parity import AnsweredDocument, compare
from serving.packages.spec import (
    FILE,
    FINGERPRINTS,
    GGUF_ENGINES,
    PROGRAM,
    CalibrationDocument,
    Grounding,
    OutputTokens,
    PackSpec,
    PackVariant,
    ParityDocument,
    ServeSpec,
    VariantFile,
)
from slmstudio.contract.json_text import loads
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from training.ml.data.rows import compiled, read_rows
from training.ml.events import Emitter, run_child
from training.ml.lengths import load_encoder
from training.ml.modeling.folder_checks import check_ref
from training.spec import ModelRef
from training.strict_yaml import build

#: the context of a replica in tokens, where the model allows it: memory is reserved for all of it
MIN_CONTEXT = 4096
#: how much longer than the longest evaluated document one may be
_CONTEXT_FACTOR = 2


def main(spec: PackSpec, emitter: Emitter) -> None:
    """The child process."""
    is_classical = spec.engine == "sklearn"
    config = _check_classical(spec.model) if is_classical else check_ref(spec.model)
    target = Path(spec.output_dir)
    shutil.rmtree(target, ignore_errors=True)
    (target / "model").mkdir(parents=True)
    emitter.emit("progress", stage="copying the model", done=0, total=0)
    weights = any(variant.engine not in GGUF_ENGINES for variant in spec.all_variants)
    _copy_folder(Path(spec.model.path), target / "model", weights=weights)
    for variant in spec.all_variants:
        _copy_gguf(variant, target)
    documents = [
        build(ParityDocument, loads(line)) for line in Path(spec.parity).read_text().splitlines() if line.strip()
    ]
    serve = _classical_spec(spec) if is_classical else _serve_spec(spec, config.get("max_position_embeddings"))
    (target / FILE).write_text(serve.to_yaml(), encoding="utf-8")
    asyncio.run(_check_variants(target, spec, documents, emitter))


def _copy_gguf(variant: PackVariant, target: Path) -> None:
    """Copies the file of a variant. Raises Refused (code ``gguf``) where its hash differs."""
    if variant.gguf is None or (target / variant.name).exists():  # two engines may load the same file
        return
    source = Path(variant.gguf.path)
    if variant.gguf.sha256 and sha256_file(source) != variant.gguf.sha256:
        raise Refused(f"The GGUF file {source.name} has changed since the export: its hash differs.", code="gguf")
    _copy(source, target / variant.name)


def _check_classical(model: ModelRef) -> dict[str, Any]:
    """Raises Refused (code ``model``) where the files of a classical model are missing or have changed."""
    if not Path(model.path).is_dir():
        raise Refused("The files of the classical model are missing.", code="model")
    if model.sha256 and folder_hash(Path(model.path)) != model.sha256:
        raise Refused("The files of the classical model have changed: their hash differs.", code="model")
    return {}


def _classical_spec(spec: PackSpec) -> ServeSpec:
    """The spec of a package without prompts and tokens."""
    return ServeSpec(
        engine=spec.engine,
        contract=spec.evaluation.contract,
        output_tokens=OutputTokens(reserved=0, maximum=0),
        name=spec.name,
        key=spec.key,
        seed=spec.evaluation.seed,
    )


def _serve_spec(spec: PackSpec, known_context: int | None) -> ServeSpec:
    evaluation = spec.evaluation
    schema = compiled(evaluation.contract)
    rows = read_rows(evaluation.documents.path, evaluation.documents.sha256)
    encoder = load_encoder(spec.model.path, evaluation.prompt)
    builder = PromptBuilder.of_evaluation(evaluation, schema, encoder, rows, known_context)
    prompts = (prompt for row in rows for prompt in builder.prompts(row.text))
    longest = max(map(len, prompts), default=0) + builder.limit.maximum
    needed = max(MIN_CONTEXT, 256 * -(-_CONTEXT_FACTOR * longest // 256))
    context = needed if known_context is None else min(known_context, needed)
    # Windows for the context of a replica, which may be smaller than the model's.
    auto = evaluation.max_new_tokens == "auto"
    builder = builder.within(context, evaluation.windows, auto=auto)
    ground = builder.ground
    return ServeSpec(
        engine=spec.engine,
        contract=evaluation.contract,
        output_tokens=OutputTokens(reserved=builder.limit.reserved, maximum=builder.limit.maximum),
        gguf="" if spec.gguf is None else spec.gguf_name,
        name=spec.name,
        key=spec.key,
        variants=tuple(
            VariantFile(key=variant.key, engine=variant.engine, gguf="" if variant.gguf is None else variant.name)
            for variant in spec.variants
        ),
        prompt=evaluation.prompt,
        include_schema=evaluation.include_schema,
        examples=evaluation.examples,
        mode=evaluation.mode,
        grounding=None if ground is None else Grounding(held=ground.held, left=ground.left, known=ground.known),
        context=context,
        windows=builder.windows,
        seed=evaluation.seed,
    )


async def _check_variants(folder: Path, spec: PackSpec, documents: list[ParityDocument], emitter: Emitter) -> None:
    """The parity of every variant. Raises Refused where the first one cannot be served."""
    fingerprints: dict[str, list[str]] = {}
    labeled = read_documents(spec.calibration)
    for variant in spec.all_variants:
        is_first = variant.key == spec.key
        try:
            await _check(folder, variant.key, documents, emitter, fingerprints, labeled)
        except Refused as refused:
            if is_first:
                raise
            emitter.emit("variant_failed", variant=variant.key, message=refused.message)
    if fingerprints:
        (folder / FINGERPRINTS).parent.mkdir(exist_ok=True)
        (folder / FINGERPRINTS).write_text(json.dumps(fingerprints, indent=2) + "\n", encoding="utf-8")


async def _check(
    folder: Path,
    key: str,
    documents: list[ParityDocument],
    emitter: Emitter,
    fingerprints: dict[str, list[str]],
    labeled: list[CalibrationDocument],
) -> None:
    package = load_package(folder, variant=key)
    try:
        await package.start()
        answered = []
        for number, document in enumerate(documents):
            emitter.emit("progress", stage=_stage(package.spec), done=number, total=len(documents))
            answer = await package.engine.answer(document.text)
            if answer.finish_reason == "error":
                raise Refused(f"The package does not answer document {document.id}: {answer.error}", code="parity")
            answered.append(AnsweredDocument(document.text, document.gold, document.raw, answer.raw))
        if hasattr(package.engine, "is_remote"):
            fingerprints[key] = await fingerprint(package)
        engine, builder = package.engine, package.builder
        if isinstance(engine, LlamaCppEngine) and builder is not None and not (folder / PROGRAM).exists():
            write_program(folder / PROGRAM)
            await write_template(folder, package.spec, builder, engine, [document.text for document in documents])
        await calibrate_package(folder, package, labeled, emitter, variant=key)
    finally:
        await package.engine.close()
    parity = compare(package.schema, answered).as_dict()
    emitter.emit("parity", variant=key, **parity, engine=package.engine.version)


def _stage(spec: ServeSpec) -> str:
    return f"checking parity of {spec.key}" if spec.key else "checking parity"


def _copy_folder(source: Path, target: Path, *, weights: bool) -> None:
    """The files of a model folder; without ``weights`` only configuration, tokenizer and chat template."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and (weights or path.suffix != ".safetensors"):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, place)


def _copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, PackSpec.from_yaml, main))
