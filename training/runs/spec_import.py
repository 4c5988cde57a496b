"""Import of a RunSpec: dataset and base model are found by hash, hyperparameters are taken from the file."""

import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from django.db.models import QuerySet

from labeling.models import DatasetVersion, Project
from slmstudio.errors import Refused
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel
from training.runs.run_spec import hyperparameters_of
from training.spec import Lora, RunSpec
from training.strict_yaml import SpecError

#: characters of the largest accepted file; parsing that many takes a second
MAX_LENGTH = 200_000
Row = TypeVar("Row", DatasetVersion, BaseModel)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: keys that a RunSpec can have and a run of the studio does not support -> what to do instead
UNSUPPORTED_SETTINGS = {
    "max_steps": "not supported; use epochs instead",
    "lora.targets": "SLM Studio trains all linear layers; remove this key",
}


def import_spec(*, project: Project, text: str) -> tuple[DatasetVersion, BaseModel, Hyperparameters]:
    """The dataset, base model and hyperparameters of a RunSpec in YAML.

    ``output_dir`` and paths are ignored: dataset and model are found by hash, and the studio sets the output folder.

    Raises:
        Refused: by key of the file: not a RunSpec, an unknown dataset or model, another contract than the dataset was
            frozen with, or an unsupported key.
    """
    if len(text) > MAX_LENGTH:
        raise Refused(f"The file has more than {MAX_LENGTH:,} characters.", field="spec")
    if "\0" in text:
        raise Refused("The file is not text.", field="spec")
    try:
        spec = RunSpec.from_yaml(text)
    except SpecError as error:
        raise Refused(f"{error.field or 'spec'}: {error.message}", field=error.field or "spec") from error
    errors = dict(_unsupported_settings(spec))
    datasets = DatasetVersion.objects.filter(project=project).order_by("-number")
    dataset = _by_hash(datasets, spec.dataset.sha256)
    base_model = _by_hash(BaseModel.objects.all(), spec.base_model.sha256)
    if dataset is None:
        errors["dataset.sha256"] = _unknown("dataset version of this project", spec.dataset.sha256)
    else:
        errors |= _contract(spec, dataset)
    if base_model is None:
        errors["base_model.sha256"] = _unknown("prepared base model", spec.base_model.sha256)
    elif spec.prompt != base_model.prompt:
        errors["prompt"] = f"{base_model} uses the prompt {base_model.prompt!r}; the file has {spec.prompt!r}"
    if errors or dataset is None or base_model is None:
        messages = {field: f"{field}: {message}." for field, message in errors.items()}
        first, *_ = messages
        raise Refused(messages[first], field=first, errors=messages)
    return dataset, base_model, hyperparameters_of(spec)


def _by_hash(rows: QuerySet[Row], sha256: str) -> Row | None:
    return rows.filter(sha256=sha256).first() if _SHA256.fullmatch(sha256) else None


def _unknown(what: str, sha256: str) -> str:
    if not sha256:
        return f"is missing; it identifies the {what}"
    if not _SHA256.fullmatch(sha256):
        return "is not a SHA-256: 64 digits, 0 to 9 and a to f"
    return f"no {what} has the hash {sha256[:12]}…"


def _contract(spec: RunSpec, dataset: DatasetVersion) -> dict[str, str]:
    if spec.contract.schema_sha256 and spec.contract.schema_sha256 != dataset.schema_version.sha256:
        return {"contract.schema_sha256": f"dataset v{dataset.number} was frozen with another schema"}
    if spec.contract.instruction.strip() != dataset.instruction.strip():
        return {"contract.instruction": f"dataset v{dataset.number} was frozen with another instruction"}
    return {}


def _unsupported_settings(spec: RunSpec) -> Iterable[tuple[str, str]]:
    defaults: dict[str, Any] = {field.name: field.default for field in fields(RunSpec)}
    for key, advice in UNSUPPORTED_SETTINGS.items():
        value, default = (
            (spec.lora.targets, Lora().targets) if key == "lora.targets" else (getattr(spec, key), defaults[key])
        )
        if value != default:
            yield key, advice.format(default=default)
