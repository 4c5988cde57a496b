"""Fingerprint of what the results of a run depend on, so that only the same run resumes from its checkpoint."""

import json
from dataclasses import asdict
from typing import Any

from slmstudio.errors import Refused
from slmstudio.storage.hashing import folder_hash, sha256_file, sha256_text
from training.spec import ContractRef, DatasetRef, ModelRef, RunSpec

#: settings that do not affect the weights
IGNORED_SETTINGS = ("output_dir", "save_every", "trackers", "sample_documents", "sample_seconds", "keep_best_and_last")


def fingerprint_values(spec: RunSpec, *, precision: str) -> dict[str, Any]:
    """Dotted names of the spec with their values; model and dataset by their hashes instead of paths.

    ``precision``: what ``auto`` resolved to on this machine.
    """
    values = {key: value for key, value in asdict(spec).items() if key not in IGNORED_SETTINGS}
    values["precision"] = precision
    values["base_model"] = spec.base_model.sha256 or folder_hash(spec.base_model.path)
    values["dataset"] = spec.dataset.sha256 or sha256_file(spec.dataset.path)
    values["silver"] = spec.silver.sha256 if spec.silver is not None else None
    values["contract"]["schema"] = sha256_text(json.dumps(spec.contract.schema, default=str))
    return _as_json(values)


def fingerprint(values: dict[str, Any]) -> str:
    """The hash of the values."""
    return sha256_text(json.dumps(values, sort_keys=True))


def check_fingerprint(stored: dict[str, Any], current: dict[str, Any]) -> None:
    """Raises Refused, with the fields, where a checkpoint has another fingerprint than the run.

    A field that did not exist when the checkpoint was written counts as its default.
    """
    before = {**_defaults(), **stored}
    changed = sorted(name for name in {*before, *current} if before.get(name) != current.get(name))
    if changed:
        raise Refused(
            f"The checkpoint was saved with a different {_listed(changed)}. A run can resume only with the same spec, "
            "model and dataset. Start a new run.",
            code="resume",
        )


def _defaults() -> dict[str, Any]:
    """The fingerprint values of a spec with defaults only."""
    contract = ContractRef(instruction="", schema={})
    blank = RunSpec(base_model=ModelRef(path=""), dataset=DatasetRef(path=""), contract=contract, output_dir="")
    values = {
        key: value for key, value in asdict(blank).items() if key not in (*IGNORED_SETTINGS, "base_model", "dataset")
    }
    return _as_json(values)


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Flat, with the types that a checkpoint's file gives back: lists for tuples."""
    flat: dict[str, Any] = json.loads(json.dumps(_flat(values)))
    return flat


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
