"""Looks at a model folder before anything in it is loaded: no code, no pickles, sound files, a causal model."""

import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash
from training.base_models.architecture import NoShape, Shape
from training.spec import ModelRef

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".npz", ".msgpack", ".h5")
INDEX = ".safetensors.index.json"
#: settings by which a model names code that is fetched or run on loading, or weights of another kind
_CODE = ("auto_map", "custom_generate", "custom_pipelines", "use_kernels", "use_hub_kernels", "kernel_config",
         "auto_mapping", "trust_remote_code")  # fmt: skip
#: settings that name a kernel: of the library's own only those that are part of torch, since others come from the hub
_KERNELS = ("attn_implementation", "experts_implementation")
_OWN_KERNELS = (None, "eager", "sdpa", "grouped_mm", "batched_mm")
_MOST_FILES = 2_000
_MOST_JSON = 300 * 1024**2  # bytes; tokenizer.json of a large vocabulary has 35 MB
_MOST_HEADER = 100 * 1024**2  # bytes, as safetensors itself has it
_WIDTHS = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2, "U32": 4,
    "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


def check_folder(folder: str | Path) -> dict[str, Any]:
    """Reads ``config.json`` of a folder that may be loaded, else raises Refused with the reason.

    Refused are: weights other than safetensors, Python files, an adapter in the place of a model, settings in any JSON
    file that name code (``auto_map``) or a kernel of the hub (``attn_implementation``), links out of the folder and
    what is no plain file, safetensors whose header does not agree with the file, an index that names files that are not
    there, a configuration of far more weights than there are (they would be made up at random), and models that are no
    causal language model.
    """
    root = Path(folder)
    if not root.is_dir():
        raise Refused(f"The model folder {root} does not exist.", code="model")
    files = _files(root)
    _check_files(root, files)
    for path in files:
        if path.name == "adapter_config.json":
            raise Refused(f"{path.name} makes this an adapter of another model. Merge them first.", code="model")
        if path.suffix == ".json" and path.name != "tokenizer.json":
            _check_settings(path.name, _json(path))
    if not (root / "config.json").is_file():
        raise Refused("The folder has no config.json, so it is not a model.", code="model")
    weights = [path for path in files if path.suffix == ".safetensors"]
    if not weights:
        raise Refused("The folder has no safetensors weights.", code="model")
    config = _json(root / "config.json")
    _check_config(config)
    held = {path: _tensors(path) for path in weights if path.parent == root}
    for path in files:
        if path.name.endswith(INDEX):
            _check_index(path, held)
    _check_size(config, sum(count for tensors in held.values() for count in tensors.values()))
    return config


def _files(root: Path) -> list[Path]:
    """Everything in the folder that is no plain folder, links included; not followed."""
    found: list[Path] = []
    for place, folders, names in os.walk(root, followlinks=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [Path(place) / name for name in (*names, *links)]
        if len(found) > _MOST_FILES:
            raise Refused(f"The folder has more than {_MOST_FILES:,} files, so it is not a model.", code="model")
    return found


def _check_files(root: Path, files: list[Path]) -> None:
    inside = root.resolve()
    for path in files:
        name = path.relative_to(root).as_posix()
        if path.suffix in PICKLES:
            raise Refused(f"{name} may hold pickled code. Only safetensors weights are loaded.", code="model")
        if path.suffix == ".py":
            raise Refused(f"{name} is code. Models that bring their own code are not loaded.", code="model")
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise Refused(f"{name} is a link out of the folder.", code="model")
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise Refused(f"{name} cannot be read: {error.strerror}.", code="model") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise Refused(f"{name} is no plain file.", code="model")


def _tensors(path: Path) -> dict[str, int]:
    """Names and numbers of values of the tensors in a safetensors file, its header held against its length.

    The format: eight bytes with the length of a JSON header, the header, and the values without gaps
    (https://github.com/huggingface/safetensors#format).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else size
        if length > min(_MOST_HEADER, size - 8):
            raise Refused(
                f"{path.name} is cut off or no safetensors file: its header does not fit in it.", code="model"
            )
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise Refused(f"{path.name} is no safetensors file: its header is not JSON.", code="model") from error
    if not isinstance(header, dict):
        raise Refused(f"{path.name} is no safetensors file: its header names no tensors.", code="model")
    header.pop("__metadata__", None)
    spans, counts = [], {}
    for name, entry in header.items():
        counts[name], span = _tensor(path, name, entry)
        spans.append(span)
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise Refused(f"{path.name} is no sound safetensors file: its tensors overlap or leave gaps.", code="model")
        end = stop
    if 8 + length + end != size:
        raise Refused(
            f"{path.name} is not whole: it has {size:,} bytes, its header asks for {8 + length + end:,}.", code="model"
        )
    return counts


def _tensor(path: Path, name: str, entry: Any) -> tuple[int, tuple[int, int]]:
    """Number of values of a tensor, and where they lie."""
    try:
        (start, stop), shape, width = entry["data_offsets"], entry["shape"], _WIDTHS[entry["dtype"]]
        count = math.prod(shape)
        sound = all(type(one) is int and one >= 0 for one in (start, stop, *shape)) and stop - start == count * width
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise Refused(f"{path.name} is no sound safetensors file: {name[:80]} is not as long as it says.", code="model")
    return count, (start, stop)


def _check_index(path: Path, held: dict[Path, dict[str, int]]) -> None:
    """Every tensor of an index stands in a file of this very folder."""
    placed = _json(path).get("weight_map")
    if not isinstance(placed, dict):
        raise Refused(f"{path.name} does not say where the weights are.", code="model")
    for tensor, name in placed.items():
        if not isinstance(name, str) or name != Path(name).name:
            raise Refused(f"{path.name} names a file outside the folder.", code="model")
        if tensor not in held.get(path.parent / name, {}):
            raise Refused(f"{path.name} names {tensor[:80]} in {name[:80]}, and it is not there.", code="model")


def _check_size(config: dict[str, Any], held: int) -> None:
    """Weights that a configuration asks for and no file holds would be made up at random, or fill the memory."""
    try:
        asked = Shape.from_config(config).parameters
    except NoShape:
        return
    # some kinds of model have fewer matrices a layer than ours; none has half as many weights
    if asked > 2 * held:
        raise Refused(f"config.json describes {asked:,} parameters, and the files hold {held:,}.", code="model")


def _check_settings(name: str, value: Any) -> None:
    """Refused where a setting, at whatever depth, names code that loading would fetch or run."""
    if isinstance(value, list):
        for item in value:
            _check_settings(name, item)
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        if key in _CODE and item not in (None, False):
            raise Refused(f"{name} names code of its own ({key}). Such models are not loaded.", code="model")
        if any(kernel in key for kernel in _KERNELS):
            asked = item.values() if isinstance(item, dict) else (item,)
            if any(one not in _OWN_KERNELS for one in asked):
                raise Refused(
                    f"{name} asks for a kernel from elsewhere ({key}: {str(item)[:80]}). Take the setting out.",
                    code="model",
                )
        if key == "quantization_config" and item:
            raise Refused("The weights are quantised. Take the model's full-precision weights.", code="model")
        _check_settings(name, item)


def _check_config(config: dict[str, Any]) -> None:
    architectures = config.get("architectures")
    architectures = architectures if isinstance(architectures, list) else []
    if not any(str(name).endswith("ForCausalLM") for name in architectures):
        named = ", ".join(map(str, architectures)) or "nothing"
        raise Refused(f"This is not a causal language model: config.json names {named}.", code="model")
    if config.get("vision_config") or config.get("is_encoder_decoder"):
        raise Refused("Only text models that decode from left to right can be used.", code="model")


def check_ref(ref: ModelRef) -> dict[str, Any]:
    """As ``check_folder``, and the folder's hash must be the one the spec names (empty: not checked)."""
    config = check_folder(ref.path)
    if ref.sha256 and folder_hash(ref.path) != ref.sha256:
        raise Refused("The model folder has changed since it was chosen: its hash is another one.", code="model")
    return config


def _json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MOST_JSON:
        raise Refused(f"{path.name} is too large to be what its name says.", code="model")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path.name} is not valid JSON: {error}", code="model") from error
    return value if isinstance(value, dict) else {}
