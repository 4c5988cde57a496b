"""What a run leaves behind: the adapter, the merged model, the environment, hashes of all of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from slmstudio.storage.hashing import folder_manifest, manifest_hash
from training.ml.events import Emitter
from training.ml.modeling.folder_checks import check_folder

#: how files begin that a model takes along from its base
_BESIDE = ("tokenizer", "special_tokens", "vocab", "merges", "added_tokens", "chat_template")


def save_adapter(model: Any, base_name: str, folder: Path) -> None:
    """The adapter alone, as safetensors with its PEFT config.

    What depends on this machine is taken out, so that the same run gives the same bytes: the base model's path becomes
    ``base_name``, and names that PEFT holds in a set are sorted.
    """
    _fresh(folder)
    model.save_pretrained(folder, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # a model card with that path in it
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base_name
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    write_json(folder / "adapter_config.json", config)


def merge(base: Path, adapter: Path, folder: Path) -> None:
    """Base model and saved adapter as one model folder, added up in fp32 and stored in the type of the base."""
    dtype = _stored_dtype(base)
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True
    )
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload(safe_merge=True)
    save_model(merged.to(dtype), base, folder)


def save_full(model: Any, base: Path, folder: Path) -> None:
    """A fully fine-tuned model, stored in the type of the base."""
    save_model(model.to(_stored_dtype(base)), base, folder)


def save_model(model: Any, base: Path, folder: Path) -> None:
    """Weights as safetensors, beside tokenizer, chat template and generation settings of the base, byte for byte.

    Where it cannot be written whole, nothing stays: half a model is of no use, and the disk may be full.
    """
    _fresh(folder)
    try:
        model.save_pretrained(folder, safe_serialization=True)
        for path in base.iterdir():
            if path.name.startswith(_BESIDE):
                shutil.copyfile(path, folder / path.name)
        if (base / "generation_config.json").is_file():
            shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")
        check_folder(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def announce(emitter: Emitter, kind: str, folder: Path) -> None:
    """The ``artifact`` event of a folder; its files are made readable for whoever serves them."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    manifest = folder_manifest(folder)
    emitter.emit("artifact", kind=kind, path=str(folder), files=manifest, sha256=manifest_hash(manifest))


def write_json(path: Path, value: Any) -> None:
    """A JSON file that people read."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored_dtype(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return torch.bfloat16 if config.get("dtype", config.get("torch_dtype")) == "bfloat16" else torch.float32


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
