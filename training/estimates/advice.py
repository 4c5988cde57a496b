"""Advice for the settings of a new run. Reads only."""

from dataclasses import replace

from labeling.models import DatasetVersion
from training.estimates.services import estimate_for
from training.hyperparameters.defaults import default_hyperparameters
from training.hyperparameters.presets import task_of
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel

#: measured on one task; see docs/benchmarks.md
FULL_FINE_TUNING_ADVICE = (
    "Values over several lines, such as addresses, are learned last. Full fine-tuning with its preset of eight epochs "
    "reached 86.7 F1 on SROIE receipts; it takes longer."
)


def full_fine_tuning_advice(*, dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> str:
    """Advice for an extraction with LoRA; empty where full fine-tuning does not fit, or where that is unknown.

    It is estimated with the preset of full fine-tuning and the limits of these hyperparameters.
    """
    if hyperparameters.method != "lora" or task_of(dataset.schema_version.compiled.fields) != "extraction":
        return ""
    full = replace(
        default_hyperparameters(dataset=dataset, base_model=base_model, method="full"),
        max_length=hyperparameters.max_length,
        too_long=hyperparameters.too_long,
        precision=hyperparameters.precision,
        activation_checkpointing=hyperparameters.activation_checkpointing,
    )
    estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=full)
    return FULL_FINE_TUNING_ADVICE if estimate is not None and estimate.fits else ""
