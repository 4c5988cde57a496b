"""Looks at a model folder before anything in it is loaded: no code, no pickles, a causal language model."""

import json
from pathlib import Path
from typing import Any

from slmstudio.hashing import folder_hash
from training.ml.events import Refused
from training.spec import ModelRef

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".msgpack", ".h5")


def check_folder(folder: str | Path) -> dict[str, Any]:
    """Reads ``config.json`` of a folder that may be loaded, else raises Refused with the reason.

    Refused are: weights other than safetensors, Python files, ``auto_map`` (code that runs on loading) in any JSON
    file, links out of the folder, and models that are no causal language model.
    """
    root = Path(folder)
    if not root.is_dir():
        raise Refused("model", f"The model folder {root} does not exist.")
    files = [path for path in root.rglob("*") if not path.is_dir()]
    _check_files(root, files)
    for path in files:
        if path.suffix == ".json" and path.name != "tokenizer.json" and "auto_map" in _json(path):
            raise Refused("model", f"{path.name} names code of its own (auto_map). Such models are not loaded.")
    if not (root / "config.json").is_file():
        raise Refused("model", "The folder has no config.json, so it is not a model.")
    if not any(path.suffix == ".safetensors" for path in files):
        raise Refused("model", "The folder has no safetensors weights.")
    config = _json(root / "config.json")
    _check_config(config)
    return config


def _check_files(root: Path, files: list[Path]) -> None:
    inside = root.resolve()
    for path in files:
        name = path.relative_to(root).as_posix()
        if path.suffix in PICKLES:
            raise Refused("model", f"{name} may hold pickled code. Only safetensors weights are loaded.")
        if path.suffix == ".py":
            raise Refused("model", f"{name} is code. Models that bring their own code are not loaded.")
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise Refused("model", f"{name} is a link out of the folder.")


def _check_config(config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if not any(str(name).endswith("ForCausalLM") for name in architectures):
        named = ", ".join(map(str, architectures)) or "nothing"
        raise Refused("model", f"This is not a causal language model: config.json names {named}.")
    if config.get("quantization_config"):
        raise Refused("model", "The weights are quantised. Take the model's full-precision weights.")
    if config.get("vision_config") or config.get("is_encoder_decoder"):
        raise Refused("model", "Only text models that decode from left to right can be used.")


def check_ref(ref: ModelRef) -> dict[str, Any]:
    """As ``check_folder``, and the folder's hash must be the one the spec names (empty: not checked)."""
    config = check_folder(ref.path)
    if ref.sha256 and folder_hash(ref.path) != ref.sha256:
        raise Refused("model", "The model folder has changed since it was chosen: its hash is another one.")
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused("model", f"{path.name} is not valid JSON: {error}") from error
    return value if isinstance(value, dict) else {}
