"""What the course of a run depends on, so that a checkpoint is only ever taken up by the run that wrote it."""

import json
from dataclasses import asdict
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file, sha256_text
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

#: names of the spec that change nothing of what is learned
_FREE = ("output_dir", "save_every", "trackers", "sample_documents")


def course(spec: RunSpec, *, precision: str) -> dict[str, Any]:
    """Dotted names of the spec with their values. Model and data are named by their hashes, wherever they lie.

    ``precision`` is the one that ``auto`` came to on this machine.
    """
    values = {key: value for key, value in asdict(spec).items() if key not in _FREE}
    values["precision"] = precision
    values["base_model"] = spec.base_model.sha256 or folder_hash(spec.base_model.path)
    values["dataset"] = spec.dataset.sha256 or sha256_file(spec.dataset.path)
    values["contract"]["schema"] = sha256_text(json.dumps(spec.contract.schema, default=str))
    return json.loads(json.dumps(_flat(values)))


def course_hash(values: dict[str, Any]) -> str:
    """One hash for all of it."""
    return sha256_text(json.dumps(values, sort_keys=True))


def check_same(written: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises Refused, naming the fields, where a checkpoint is of another course than the run that wants it.

    A field that the spec did not have yet when the checkpoint was written counts as its default.
    """
    before = {**_defaults(), **written}
    changed = sorted(name for name in {*before, *wanted} if before.get(name) != wanted.get(name))
    if changed:
        raise Refused(
            f"The checkpoint was written with another {_listed(changed)}. A run is resumed with the spec, the model "
            "and the data it was started with. Start a new run.",
            code="resume",
        )


def _defaults() -> dict[str, Any]:
    """As in ``course``, of a spec that says nothing but what it must."""
    contract = ContractRef(instruction="", schema={})
    blank = RunSpec(base_model=ModelRef(path=""), dataset=DatasetRef(path=""), contract=contract, output_dir="")
    values = {key: value for key, value in asdict(blank).items() if key not in (*_FREE, "base_model", "dataset")}
    return json.loads(json.dumps(_flat(values)))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
