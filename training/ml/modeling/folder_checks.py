"""Checks of a model folder before it is loaded: no code, no pickles, valid files, a decoder or an encoder."""

import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.model_shape import ModelShape, UnknownModelShape
from training.model_shape import is_encoder as is_encoder
from training.spec import ModelRef

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".msgpack", ".h5")
INDEX = ".safetensors.index.json"
#: settings that name code to download or run, or other kinds of weights
CODE_SETTINGS = ("auto_map", "custom_generate", "custom_pipelines", "use_kernels", "use_hub_kernels", "kernel_config",
         "auto_mapping", "trust_remote_code")  # fmt: skip
#: settings that name a kernel; only those of torch are allowed, others are downloaded from the hub
KERNEL_SETTINGS = ("attn_implementation", "experts_implementation")
ALLOWED_KERNELS = (None, "eager", "sdpa", "grouped_mm", "batched_mm")
MAX_FILES = 2_000
MAX_JSON_BYTES = 300 * 1024**2  # bytes; tokenizer.json of a large vocabulary has 35 MB
MAX_HEADER_BYTES = 100 * 1024**2  # bytes, as safetensors itself has it
DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4,
    "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


def check_folder(folder: str | Path) -> dict[str, Any]:
    """Returns ``config.json`` of a folder that can be loaded, else raises Refused.

    Rejected are: weights other than safetensors, Python files, adapters, settings in any JSON file that name code
    (``auto_map``) or a kernel of the hub (``attn_implementation``), links out of the folder, special files, safetensors
    whose header does not match the file, an index with missing files, a configuration with far more weights than the
    files (the rest would be random), and models that are neither causal language models nor encoders of text.
    """
    root = Path(folder)
    if not root.is_dir():
        raise Refused(f"The model folder {root} does not exist.", code="model")
    files = _files(root)
    _check_files(root, files)
    for path in files:
        if path.name == "adapter_config.json":
            raise Refused(
                f"{path.name} shows that this is an adapter. Merge it with its base model first.", code="model"
            )
        if path.suffix == ".json" and path.name != "tokenizer.json":
            _check_settings(path.name, _json(path))
    if not (root / "config.json").is_file():
        raise Refused("The folder has no config.json, so it is not a model.", code="model")
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise Refused("The folder has no safetensors weights.", code="model")
    config = _json(root / "config.json")
    _check_config(config)
    stored = {path: _tensors(path) for path in weights if path.parent == root}
    for path in files:
        if path.name.endswith(INDEX):
            _check_index(path, stored)
    _check_size(config, sum(count for tensors in stored.values() for count in tensors.values()))
    return config


def _files(root: Path) -> list[Path]:
    """All files and links in the folder; links are not followed."""
    files: list[Path] = []
    for place, folders, names in os.walk(root, followlinks=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        files += [Path(place) / name for name in (*names, *links)]
        if len(files) > MAX_FILES:
            raise Refused(f"The folder has more than {MAX_FILES:,} files, so it is not a model.", code="model")
    return files


def _check_files(root: Path, files: list[Path]) -> None:
    inside = root.resolve()
    for path in files:
        name = path.relative_to(root).as_posix()
        if path.suffix in PICKLES:
            raise Refused(f"{name} may contain pickled code. Only safetensors weights are loaded.", code="model")
        if path.suffix == ".py":
            raise Refused(f"{name} is code. Models with their own code are not loaded.", code="model")
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise Refused(f"{name} links to a file outside the folder.", code="model")
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise Refused(f"{name} cannot be read: {error.strerror}.", code="model") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # reading a pipe would block
            raise Refused(f"{name} is not a plain file.", code="model")


def _tensors(path: Path) -> dict[str, int]:
    """Names and sizes of the tensors in a safetensors file, with its header checked against its length.

    The format: eight bytes with the length of a JSON header, the header, and the values without gaps
    (https://github.com/huggingface/safetensors#format).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise Refused(f"{path.name} is truncated or not a safetensors file: its header does not fit.", code="model")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise Refused(f"{path.name} is not a safetensors file: its header is not JSON.", code="model") from error
    if not isinstance(header, dict):
        raise Refused(f"{path.name} is not a safetensors file: its header has no tensors.", code="model")
    header.pop("__metadata__", None)
    spans, counts = [], {}
    for name, entry in header.items():
        counts[name], span = _tensor(path, name, entry)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise Refused(
                f"{path.name} is not a valid safetensors file: its tensors overlap or leave gaps.", code="model"
            )
        end = stop
    if 8 + length + end != size:
        raise Refused(
            f"{path.name} is incomplete: it has {size:,} bytes, its header needs {8 + length + end:,}.", code="model"
        )
    return counts


def _tensor(path: Path, name: str, entry: Any) -> tuple[int, tuple[int, int]]:
    """Number of values of a tensor, and their byte range."""
    try:
        (start, stop), shape, width = entry["data_offsets"], entry["shape"], DTYPE_BYTES[entry["dtype"]]
        count = math.prod(shape)
        sound = (
            all(type(number) is int and number >= 0 for number in (start, stop, *shape))
            and stop - start == count * width
        )
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Refused(
            f"{path.name} is not a valid safetensors file: {name[:80]} has a different length than stated.",
            code="model",
        )
    return count, (start, stop)


def _check_index(path: Path, stored: dict[Path, dict[str, int]]) -> None:
    """Checks that every tensor of an index is in a file of the folder."""
    placed = _json(path).get("weight_map")
    if not isinstance(placed, dict):
        raise Refused(f"{path.name} has no weight map.", code="model")
    for tensor, name in placed.items():
        if not isinstance(name, str) or name != Path(name).name:
            raise Refused(f"{path.name} names a file outside the folder.", code="model")
        if tensor not in stored.get(path.parent / name, {}):
            raise Refused(f"{path.name} names {tensor[:80]} in {name[:80]}, which does not exist.", code="model")


def _check_size(config: dict[str, Any], stored: int) -> None:
    """Rejects a configuration with more weights than the files: they would be random, or fill the memory."""
    try:
        described = ModelShape.from_config(config).parameters
    except UnknownModelShape:
        return
    # some architectures have fewer matrices per layer than assumed, none has half as many weights
    if described > 2 * stored:
        raise Refused(f"config.json describes {described:,} parameters, and the files hold {stored:,}.", code="model")


def _check_settings(name: str, value: Any) -> None:
    """Raises Refused where a setting, at any depth, names code that loading would download or run."""
    if isinstance(value, list):
        for item in value:
            _check_settings(name, item)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in CODE_SETTINGS and item not in (None, False):
            raise Refused(f"{name} names code ({key}). Such models are not loaded.", code="model")
        if any(kernel in key for kernel in KERNEL_SETTINGS):
            kernels = item.values() if isinstance(item, dict) else (item,)
            if any(kernel_name not in ALLOWED_KERNELS for kernel_name in kernels):
                raise Refused(
                    f"{name} names an external kernel ({key}: {str(item)[:80]}). Remove the setting.",
                    code="model",
                )
        if key == "quantization_config" and item:
            raise Refused("The weights are quantized. Use the model's full-precision weights.", code="model")
        _check_settings(name, item)


def _check_config(config: dict[str, Any]) -> None:
    if is_encoder(config):
        return
    architectures = config.get("architectures")
    architectures = architectures if isinstance(architectures, list) else []
    if not any(str(name).endswith("ForCausalLM") for name in architectures):
        named = ", ".join(map(str, architectures)) or "nothing"
        raise Refused(
            f"This is neither a causal language model nor a known encoder: config.json names {named}.", code="model"
        )
    if config.get("vision_config") or config.get("is_encoder_decoder"):
        raise Refused("Only decoder-only text models and encoders are supported.", code="model")


def check_decoder(config: dict[str, Any]) -> None:
    """Raises Refused where the model of a ``config.json`` does not generate text."""
    if is_encoder(config):
        raise Refused("This model is an encoder, which does not generate text.", code="model")


def check_ref(ref: ModelRef) -> dict[str, Any]:
    """As ``check_folder``, and the folder's hash must be the one the spec names (empty: not checked)."""
    config = check_folder(ref.path)
    if ref.sha256 and folder_hash(ref.path) != ref.sha256:
        raise Refused("The model folder has changed since it was selected: its hash differs.", code="model")
    return config


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise Refused(f"{path.name} is too large for its type.", code="model")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path.name} is not valid JSON: {error}", code="model") from error
    return value if isinstance(value, dict) else {}
