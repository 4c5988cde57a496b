"""A RunSpec that was written elsewhere: what it rests on is found here by its hashes, its knobs are taken over."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from labeling.models import DatasetVersion, Project
from slmstudio.errors import Refused
from training.models import BaseModel
from training.runs.presets import Knobs
from training.runs.services import knobs_of
from training.spec import Lora, RunSpec
from training.strict_yaml import SpecError

#: characters of a file that is read at all; reading that many takes a second
MOST = 200_000
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: what a spec may say but a run of the studio cannot: key -> why, or what to do instead
_NOT_HERE = {
    "max_steps": "a run of the studio counts in epochs; say epochs instead",
    "eval_every": "the studio decides when it looks at the validation split; take it out",
    "save_every": "the studio decides when it keeps a checkpoint; take it out",
    "sample_documents": "the studio samples {default} documents at each look; take it out",
    "lora.targets": "the studio adapts all linear layers; take it out",
}


@dataclass(frozen=True)
class Proposal:
    """A run as a file describes it; nothing has been started."""

    dataset: DatasetVersion
    base_model: BaseModel
    knobs: Knobs


def read_spec(*, project: Project, text: str) -> Proposal:
    """What a RunSpec in YAML asks for in this project.

    ``output_dir`` and the paths are not looked at: the files are known by their hashes, and the studio decides where
    a run writes.

    Raises:
        Refused: by field of the file: not a RunSpec, a dataset or model that is not known here by its hash, another
            contract than the dataset was frozen with, or a key that a run of the studio cannot follow.
    """
    if len(text) > MOST:
        raise Refused(f"The file has more than {MOST:,} characters; a RunSpec has a few thousand.", field="spec")
    if "\0" in text:
        raise Refused("The file is not text.", field="spec")
    try:
        spec = RunSpec.from_yaml(text)
    except SpecError as error:
        raise Refused(f"{error.field or 'spec'}: {error.message}", field=error.field or "spec") from error
    errors = dict(_unfollowed(spec))
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
        errors["prompt"] = f"{base_model} is prompted with {base_model.prompt!r} here, the file says {spec.prompt!r}"
    if errors or dataset is None or base_model is None:
        said = {field: f"{field}: {message}." for field, message in errors.items()}
        first, *_ = said
        raise Refused(said[first], field=first, errors=said)
    return Proposal(dataset, base_model, knobs_of(spec))


def _by_hash(rows: Any, sha256: str) -> Any:
    return rows.filter(sha256=sha256).first() if _SHA256.fullmatch(sha256) else None


def _unknown(what: str, sha256: str) -> str:
    if not sha256:
        return f"is missing; without it nobody can tell which {what} is meant"
    if not _SHA256.fullmatch(sha256):
        return "is no SHA-256: 64 digits, 0 to 9 and a to f"
    return f"no {what} has the hash {sha256[:12]}…"


def _contract(spec: RunSpec, dataset: DatasetVersion) -> dict[str, str]:
    if spec.contract.schema_sha256 and spec.contract.schema_sha256 != dataset.schema_version.sha256:
        return {"contract.schema_sha256": f"dataset v{dataset.number} was frozen with another schema"}
    if spec.contract.instruction.strip() != dataset.instruction.strip():
        return {"contract.instruction": f"dataset v{dataset.number} was frozen with another instruction"}
    return {}


def _unfollowed(spec: RunSpec) -> Iterable[tuple[str, str]]:
    usual: dict[str, Any] = {field.name: field.default for field in fields(RunSpec)}
    for key, why in _NOT_HERE.items():
        said, default = (
            (spec.lora.targets, Lora().targets) if key == "lora.targets" else (getattr(spec, key), usual[key])
        )
        if said != default:
            yield key, why.format(default=default)
