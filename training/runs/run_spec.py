"""From hyperparameters to the RunSpec of a run and back, and the spec that reproduces a run."""

from dataclasses import fields, replace

from labeling.datasets.queries import file_path
from labeling.datasets.silver import silver_key
from labeling.models import DatasetVersion
from slmstudio.contract.schema.compiled import loads
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from training.hyperparameters.definitions import Hyperparameters, TrainingSettings
from training.models import TrainingRun
from training.spec import RunSpec
from training.strict_yaml import SpecError, build

_SETTINGS = tuple(field.name for field in fields(TrainingSettings))


def build_spec(run: TrainingRun, hyperparameters: Hyperparameters) -> RunSpec:
    """The RunSpec of a run: its hyperparameters, and its model, dataset and contract with their hashes."""
    dataset, base_model = run.dataset, run.base_model
    schema = dataset.schema_version
    return build(
        RunSpec,
        {
            "version": 1,
            "base_model": {"slug": base_model.slug, "path": base_model.folder, "sha256": base_model.sha256},
            "dataset": {"path": str(file_path(dataset)), "sha256": dataset.sha256},
            "contract": {
                "instruction": dataset.instruction,
                "schema": loads(schema.schema_text),
                "schema_sha256": schema.sha256,
            },
            "prompt": base_model.prompt,
            **{name: getattr(hyperparameters, name) for name in _SETTINGS},
            "lora": {
                "r": hyperparameters.lora_r,
                "alpha": hyperparameters.lora_alpha,
                "dropout": hyperparameters.lora_dropout,
            },
            "without_heads": hyperparameters.without_heads,
            "output_dir": str(local_path(run.folder_key)),
            **({"silver": _silver(dataset)} if hyperparameters.silver else {}),
        },
    )


def _silver(dataset: DatasetVersion) -> dict[str, str]:
    return {"path": str(local_path(silver_key(dataset.artifact_key))), "sha256": dataset.counts["silver"]["sha256"]}


def hyperparameters_of(spec: RunSpec) -> Hyperparameters:
    """The hyperparameters of a spec."""
    return Hyperparameters(
        **{name: getattr(spec, name) for name in _SETTINGS},
        lora_r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        silver=spec.silver is not None,
        without_heads=spec.without_heads,
    )


def resolved_spec(run: TrainingRun, spec: RunSpec) -> RunSpec:
    """The spec of a run; for one that is done, with the precision that ``auto`` resolved to.

    On a CPU ``auto`` is decided by timing, so the next run could use another precision and train another model.
    """
    precision = run.facts.get("precision")
    if run.status != Status.DONE or spec.precision != "auto" or precision not in ("fp32", "bf16"):
        return spec
    return replace(spec, precision=precision)


def reproducible_spec_text(run: TrainingRun) -> str:
    """The file that reproduces a run: the text it was started with, if that is complete."""
    try:
        spec = RunSpec.from_yaml(run.spec)
    except SpecError:
        return run.spec
    ran = resolved_spec(run, spec)
    if ran == spec:
        return run.spec
    head = f"# Started with precision: auto, which resolved to {ran.precision}; this file reproduces the run.\n"
    return head + ran.to_yaml()
