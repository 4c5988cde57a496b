"""Ranges and requirements of hyperparameters, with a message for each problem. Pure."""

from collections.abc import Collection
from dataclasses import asdict

from pydantic import TypeAdapter, ValidationError

from training.hyperparameters.definitions import CUDA_ONLY, ENCODER_WINDOW, FIELDS, PACKAGES, Hyperparameters, range_of
from training.hyperparameters.display import VALUE_LABELS

_ADAPTER = TypeAdapter(Hyperparameters)


def missing_package_message(value: str) -> str:
    """The message for a value whose package is missing on the worker."""
    package = PACKAGES[value]
    name = {"qlora": "QLoRA"}.get(value, VALUE_LABELS.get(value, value))
    return f"{name} needs the package {package}. Install it on the worker: pip install {package}."


def problems(
    hyperparameters: Hyperparameters,
    context: int = 0,
    *,
    cuda: bool = False,
    gpus: int = 1,
    missing: Collection[str] = (),
    encoder: bool = False,
) -> dict[str, str]:
    """A message for each invalid hyperparameter.

    ``context``: tokens that the model reads, 0 where unknown. ``encoder``: whether it is one. ``cuda``, ``gpus`` and
    ``missing`` (packages) describe the worker that would train.
    """
    messages: dict[str, str] = {}
    try:
        _ADAPTER.validate_python(asdict(hyperparameters))
    except ValidationError as invalid:
        for error in invalid.errors():
            name = str(error["loc"][0])
            expected = error.get("ctx", {}).get("expected")
            choices = f"{error['input']!r} is not one of {str(expected).replace(' or ', ', ')}."
            messages[name] = choices if expected else range_message(name)
    if hyperparameters.devices > max(1, gpus) or "devices" in messages:
        messages["devices"] = _devices_message(gpus)
    if hyperparameters.best_metric == "field_accuracy" and hyperparameters.sample_documents == 0:
        messages["sample_documents"] = "Field accuracy is measured on scored documents: score at least one."
    for name in ("method", "precision"):
        value = getattr(hyperparameters, name)
        if value in CUDA_ONLY and not cuda:
            messages[name] = CUDA_ONLY[value]
        elif PACKAGES.get(value) in missing:
            messages[name] = missing_package_message(value)
    if not_installed := [name for name in hyperparameters.trackers if PACKAGES.get(name) in missing]:
        messages.setdefault("trackers", missing_package_message(not_installed[0]))
    if context and "max_length" not in messages and hyperparameters.max_length > context:
        messages["max_length"] = f"The model reads at most {context:,} tokens, not {hyperparameters.max_length:,}."
    return {**_family_problems(hyperparameters, encoder), **messages}


def _family_problems(hyperparameters: Hyperparameters, encoder: bool) -> dict[str, str]:
    """Problems with the family of the base model."""
    if not encoder:
        return {"without_heads": "Only encoders have heads."} if hyperparameters.without_heads else {}
    messages = {}
    if hyperparameters.method == "qlora":
        messages["method"] = "An encoder is trained with full fine-tuning or LoRA."
    if hyperparameters.max_length > ENCODER_WINDOW:
        messages["max_length"] = f"An encoder reads longer documents in windows of at most {ENCODER_WINDOW} tokens."
    if hyperparameters.too_long != "windows":
        messages["too_long"] = "An encoder always reads long documents in windows."
    return messages


def range_message(name: str) -> str:
    """The range of a hyperparameter, such as "Epochs: 0.01 to 100."."""
    low, high = (f"{value:,}" if value == int(value) else f"{value:.8f}".rstrip("0") for value in range_of(name))
    return f"{FIELDS[name].title}: {low} to {high}."


def _devices_message(gpus: int) -> str:
    if gpus < 2:
        return "Use 1 device: no GPU worker has more than one GPU."
    return f"GPUs: 1 to {gpus}, as many as the worker has."
