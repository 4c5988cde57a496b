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
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.ml.prompts import PromptBuilder
from serving.confidence.calibration import AnsweredDocument, calibrate, judged_fields, summary
from serving.engines import ENGINES, PROGRAM, PROMPT
from serving.ml.engines.encoder import EncoderEngine
from serving.ml.engines.llama_cpp import LlamaCppEngine
from serving.ml.loading import LoadedPackage, fingerprint, load_package
from serving.ml.standalone import write_program
from serving.packages.parity import ComparedDocument, compare
from serving.packages.spec import (
    FILE,
    FINGERPRINTS,
    SCHEMA,
    CalibrationDocument,
    Grounding,
    OutputTokens,
    PackSpec,
    PackVariant,
    ParityDocument,
    ServeSpec,
    VariantFile,
)
from slmstudio.contract.json_text import dumps, loads
from slmstudio.contract.rules import invariants
from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file
from training.ml.data.rows import compiled, read_rows
from training.ml.events import Emitter, run_child
from training.ml.lengths import load_encoder
from training.ml.llama_cpp.runtime import TEXTS
from training.ml.modeling.folder_checks import check_ref
from training.spec import ModelRef
from training.strict_yaml import build

#: the context of a replica in tokens, where the model allows it: memory is reserved for all of it
MIN_CONTEXT = 4096
#: how much longer than the longest evaluated document one may be
_CONTEXT_FACTOR = 2


def main(spec: PackSpec, emitter: Emitter) -> None:
    """The child process."""
    family = ENGINES[spec.variants[0].engine].family
    config = _check_classical(spec.model) if family == "classical" else check_ref(spec.model)
    target = Path(spec.output_dir)
    shutil.rmtree(target, ignore_errors=True)
    (target / "model").mkdir(parents=True)
    if family == "encoder":
        emitter.emit("progress", stage="exporting the model", done=0, total=0)
        _export_encoder(spec, target / "model")
    else:
        emitter.emit("progress", stage="copying the model", done=0, total=0)
        weights = any(ENGINES[variant.engine].loads != "gguf" for variant in spec.variants)
        _copy_folder(Path(spec.model.path), target / "model", weights=weights)
    for variant in spec.variants:
        _copy_gguf(variant, target)
    documents = [
        build(ParityDocument, loads(line)) for line in Path(spec.parity).read_text().splitlines() if line.strip()
    ]
    serve = (
        _serve_spec(spec, config.get("max_position_embeddings")) if family == "decoder" else _spec_without_prompt(spec)
    )
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


def _export_encoder(spec: PackSpec, target: Path) -> None:
    """The ONNX file of each variant. Raises Refused as ``export_onnx``."""
    from training.ml.encoders.onnx_export import export_onnx  # loads torch

    precisions = [ENGINES[variant.engine].precision for variant in spec.variants]
    export_onnx(Path(spec.model.path), compiled(spec.evaluation.contract), target, precisions)


def _spec_without_prompt(spec: PackSpec) -> ServeSpec:
    """The spec of a package of an encoder or a classical model, without prompts and output tokens."""
    return ServeSpec(
        engine=spec.variants[0].engine,
        contract=spec.evaluation.contract,
        output_tokens=OutputTokens(reserved=0, maximum=0),
        name=spec.name,
        key=spec.variants[0].key,
        variants=tuple(VariantFile(key=variant.key, engine=variant.engine) for variant in spec.variants[1:]),
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
    first, *others = (
        VariantFile(key=variant.key, engine=variant.engine, gguf="" if variant.gguf is None else variant.name)
        for variant in spec.variants
    )
    return ServeSpec(
        engine=first.engine,
        contract=evaluation.contract,
        output_tokens=OutputTokens(reserved=builder.limit.reserved, maximum=builder.limit.maximum),
        gguf=first.gguf,
        name=spec.name,
        key=first.key,
        variants=tuple(others),
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
    for variant in spec.variants:
        is_first = variant is spec.variants[0]
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
            answered.append(ComparedDocument(document.text, document.gold, document.raw, answer.raw))
        if hasattr(package.engine, "is_remote"):
            fingerprints[key] = await fingerprint(package)
        engine, builder = package.engine, package.builder
        if isinstance(engine, EncoderEngine):
            write_program(folder / PROGRAM, package.spec.engine)
        if isinstance(engine, LlamaCppEngine) and builder is not None and not (folder / PROGRAM).exists():
            write_program(folder / PROGRAM, package.spec.engine)
            await write_template(folder, package.spec, builder, engine, [document.text for document in documents])
        await calibrate_package(folder, package, labeled, emitter, variant=key)
    finally:
        await package.engine.close()
    parity = compare(package.schema, answered)
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


# -- calibration and prompt --------------------------------------------------------------------------------------------

FOLDER = "evidence"


def read_documents(path: str) -> list[CalibrationDocument]:
    """The documents of a file; "": none."""
    if not path:
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [build(CalibrationDocument, loads(line, max_characters=None)) for line in lines if line.strip()]


async def calibrate_package(
    folder: Path,
    package: LoadedPackage,
    documents: Sequence[CalibrationDocument],
    emitter: Emitter,
    *,
    variant: str = "",
) -> None:
    """Answers the documents with a started engine, and writes the calibration into the folder ``evidence``.

    Event: ``calibration`` {variant, file}.
    """
    if not documents:
        return
    answered = []
    for number, document in enumerate(documents):
        emitter.emit("progress", stage="calibrating the confidence", done=number, total=len(documents))
        answered.append(await _answered(package, str(number), document))
    calibration, records = calibrate(answered)
    name = f"{FOLDER}/calibration{f'-{variant}' if variant else ''}.json"
    value = {
        "version": 2,
        "engine": package.engine.version,
        "documents": len(records),
        **asdict(calibration),
        "summary": summary(calibration, records),
        "records": [record.to_json() for record in records],
    }
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    emitter.emit("calibration", variant=variant, file=name)


async def _answered(package: LoadedPackage, name: str, document: CalibrationDocument) -> AnsweredDocument:
    schema = package.schema
    answer = await package.engine.answer(document.text)
    if answer.finish_reason != "stop":
        return AnsweredDocument(name, None)
    fields = judged_fields(
        schema, text=document.text, gold=document.gold, raw=answer.raw, probabilities=answer.confidence
    )
    holds = not (fields is not None and invariants.declared(schema) and invariants.check(schema, loads(answer.raw)))
    return AnsweredDocument(name, fields, holds)


#: stands for the document when a prompt is rendered
_MARK = "7c1d90ef"


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt as text. ``strip``: the chat template trims the document.

    ``first_tokens``: ids before the text; ``first_text``: what they stand for where the chat template writes it.
    ``special_tokens``: escaped in documents, in this order; see ``training.prompts.escape_special_tokens``.
    """

    first_tokens: tuple[int, ...]
    prefix: str
    suffix: str
    strip: bool
    special_tokens: tuple[str, ...]
    first_text: str = ""

    def content(self, document: str) -> str | list[int | str]:
        """The prompt of a document as a server makes it."""
        for token in self.special_tokens:
            document = document.replace(token, f"{token[0]} {token[1:]}")
        text = self.prefix + (document.strip() if self.strip else document) + self.suffix
        return [*self.first_tokens, text] if self.first_tokens else text


def prompt_template(builder: PromptBuilder) -> PromptTemplate | None:
    """The prompt of a package around its document; None where the chat template changes the document."""
    text = builder.text(_MARK)
    prefix, mark, suffix = text.partition(_MARK)
    padded = builder.text(f" \n{_MARK}\n ")
    strip = padded == text
    if not mark or _MARK in suffix or not (strip or padded == f"{prefix} \n{_MARK}\n {suffix}"):
        return None
    specials = {token: None for token in builder.encoder.special_tokens if len(token) > 1}
    ordered = tuple(sorted(specials, key=len, reverse=True))
    first: tuple[int, ...] = ()
    start = ""
    ids = builder.prompt(_MARK)
    # As an id, because llama.cpp may add the start token by itself in front of a text.
    if builder.encoder.adds_bos:
        first = (ids[0],)
    else:
        start = next((token for token in ordered if prefix.startswith(token)), "")
        if start and builder.encoder.tokenizer.convert_tokens_to_ids(start) == ids[0]:
            first, prefix = (ids[0],), prefix.removeprefix(start)
    return PromptTemplate(first, prefix, suffix, strip, ordered, start if first else "")


async def write_template(
    folder: Path, spec: ServeSpec, builder: PromptBuilder, engine: LlamaCppEngine, texts: Iterable[str]
) -> None:
    """Writes prompt and schema into a package; nothing where another server would read another prompt than a replica:
    the chat template changes the document, or llama.cpp tokenizes the text differently from the package's encoder."""
    template = prompt_template(builder)
    if template is None:
        return
    specials = "x ".join(template.special_tokens)
    for text in (*texts, *TEXTS, f"Total {specials} 5"):
        if await engine.tokenize(template.content(text)) != builder.prompt(text):
            return
    prompt = json.dumps({"gguf": spec.gguf, **asdict(template)}, indent=2, ensure_ascii=False)
    (folder / PROMPT).write_text(f"{prompt}\n", encoding="utf-8")
    (folder / SCHEMA).write_text(dumps(builder.schema.schema) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, PackSpec.from_yaml, main))
