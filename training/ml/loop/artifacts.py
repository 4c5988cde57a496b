"""Artifacts of a run: adapter, merged model, environment, and their hashes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from slmstudio.storage.hashing import folder_manifest, manifest_hash
from training.ml.events import Emitter
from training.ml.modeling.folder_checks import check_folder

#: prefixes of the files that are copied from the base model
TOKENIZER_FILES = ("tokenizer", "special_tokens", "vocab", "merges", "added_tokens", "chat_template")


def save_adapter(model: Any, base_name: str, folder: Path) -> None:
    """Saves the adapter as safetensors with its PEFT config.

    Machine-dependent values are removed, so that the same run gives the same bytes: the path of the base model becomes
    ``base_name``, and names that PEFT holds in a set are sorted.
    """
    _empty_folder(folder)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # a model card with that path in it
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    write_json(folder / "adapter_config.json", config)


def merge(base: Path, adapter: Path, folder: Path) -> None:
    """Merges base model and saved adapter in fp32, and saves them in the type of the base."""
    dtype = _stored_dtype(base)
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True
    )
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    save_model(merged.to(dtype), base, folder)


def save_full(model: Any, base: Path, folder: Path) -> None:
    """Saves a fully fine-tuned model in the type of the base."""
    save_model(model.to(_stored_dtype(base)), base, folder)


def save_model(model: Any, base: Path, folder: Path, add: Callable[[Path], None] | None = None) -> None:
    """Saves weights as safetensors, with byte-identical tokenizer, chat template and generation config of the base.

    ``add`` writes more files into the folder. If anything fails, the folder is deleted: the disk may be full.
    """
    _empty_folder(folder)
    try:
        model.save_pretrained(folder, safe_serialization=True)
        for path in base.iterdir():
            if path.name.startswith(TOKENIZER_FILES):
                shutil.copyfile(path, folder / path.name)
        if (base / "generation_config.json").is_file():
            shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
        if add is not None:
            add(folder)
        check_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def emit_artifact(emitter: Emitter, kind: str, folder: Path) -> None:
    """Emits the ``artifact`` event of a folder; makes its files readable for other users."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    manifest = folder_manifest(folder)
    emitter.emit("artifact", kind=kind, path=str(folder), files=manifest, sha256=manifest_hash(manifest))


def write_json(path: Path, value: Any) -> None:
    """Writes an indented JSON file."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored_dtype(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return torch.bfloat16 if config.get("dtype", config.get("torch_dtype")) == "bfloat16" else torch.float32


def _empty_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
