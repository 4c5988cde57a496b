"""From hyperparameters to the RunSpec of a run and back, and the spec that reproduces a run."""

from dataclasses import replace

from labeling.datasets.queries import file_path
from labeling.datasets.silver import silver_key
from labeling.models import DatasetVersion
from slmstudio.contract.schema.compiled import loads
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from training.hyperparameters.values import Hyperparameters
from training.models import TrainingRun
from training.spec import RunSpec
from training.strict_yaml import SpecError, build


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
            "method": hyperparameters.method,
            "lora": {
                "r": hyperparameters.lora_r,
                "alpha": hyperparameters.lora_alpha,
                "dropout": hyperparameters.lora_dropout,
            },
            "max_length": hyperparameters.max_length,
            "batch_size": hyperparameters.batch_size,
            "accumulation": hyperparameters.accumulation,
            "learning_rate": hyperparameters.learning_rate,
            "scheduler": hyperparameters.scheduler,
            "warmup_ratio": hyperparameters.warmup_ratio,
            "epochs": hyperparameters.epochs,
            "precision": hyperparameters.precision,
            "activation_checkpointing": hyperparameters.activation_checkpointing,
            "devices": hyperparameters.devices,
            "early_stopping": hyperparameters.early_stopping,
            "best_metric": hyperparameters.best_metric,
            "weight_averaging": hyperparameters.weight_averaging,
            "ema_decay": hyperparameters.ema_decay,
            "augmentation": hyperparameters.augmentation,
            "keep_best_and_last": hyperparameters.keep_best_and_last,
            "eval_every": hyperparameters.eval_every,
            "save_every": hyperparameters.save_every,
            "sample_documents": hyperparameters.sample_documents,
            "sample_seconds": hyperparameters.sample_seconds,
            "trackers": list(hyperparameters.trackers),
            "seed": hyperparameters.seed,
            "too_long": hyperparameters.too_long,
            "output_dir": str(local_path(run.folder_key)),
            **({"train_share": hyperparameters.train_share} if hyperparameters.train_share < 1 else {}),
            **({"silver": _silver(dataset)} if hyperparameters.silver else {}),
        },
    )


def _silver(dataset: DatasetVersion) -> dict[str, str]:
    return {"path": str(local_path(silver_key(dataset.artifact_key))), "sha256": dataset.counts["silver"]["sha256"]}


def hyperparameters_of(spec: RunSpec) -> Hyperparameters:
    """The hyperparameters of a spec."""
    return Hyperparameters(
        method=spec.method,
        learning_rate=spec.learning_rate,
        epochs=spec.epochs,
        batch_size=spec.batch_size,
        accumulation=spec.accumulation,
        lora_r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        lora_dropout=spec.lora.dropout,
        max_length=spec.max_length,
        seed=spec.seed,
        too_long=spec.too_long,
        warmup_ratio=spec.warmup_ratio,
        scheduler=spec.scheduler,
        precision=spec.precision,
        activation_checkpointing=spec.activation_checkpointing,
        devices=spec.devices,
        early_stopping=spec.early_stopping,
        best_metric=spec.best_metric,
        weight_averaging=spec.weight_averaging,
        ema_decay=spec.ema_decay,
        augmentation=spec.augmentation,
        keep_best_and_last=spec.keep_best_and_last,
        eval_every=spec.eval_every,
        save_every=spec.save_every,
        sample_documents=spec.sample_documents,
        sample_seconds=spec.sample_seconds,
        trackers=spec.trackers,
        silver=spec.silver is not None,
        train_share=spec.train_share,
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
