"""Advice for the settings of a new run, and the method where none is chosen. Reads only."""

from dataclasses import replace

from labeling.models import DatasetVersion
from training.estimates.services import estimate_for
from training.hyperparameters.defaults import default_hyperparameters
from training.hyperparameters.presets import task_of
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel

#: parameters up to which all weights are trained for an extraction where no method is chosen; larger models read long
#: values with an adapter, too
SMALL_MODEL = 500_000_000
#: measured on one task; see docs/benchmarks.md
FULL_FINE_TUNING_ADVICE = (
    "Values over several lines, such as addresses, are learned last. Full fine-tuning with its preset of eight epochs "
    "reached 86.7 F1 on SROIE receipts; it takes longer."
)


def full_fine_tuning_advice(*, dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> str:
    """Advice for an extraction with LoRA; empty where full fine-tuning does not fit, or where that is unknown.

    It is estimated with the preset of full fine-tuning and the limits of these hyperparameters.
    """
    if hyperparameters.method != "lora" or not _is_extraction(dataset):
        return ""
    full = replace(
        default_hyperparameters(dataset=dataset, base_model=base_model, method="full"),
        max_length=hyperparameters.max_length,
        too_long=hyperparameters.too_long,
        precision=hyperparameters.precision,
        activation_checkpointing=hyperparameters.activation_checkpointing,
    )
    return FULL_FINE_TUNING_ADVICE if _fits(dataset, base_model, full) else ""


def recommended_method(*, dataset: DatasetVersion, base_model: BaseModel) -> str:
    """``full`` for an extraction with a small model where full fine-tuning is known to fit, else ``lora``."""
    if not _is_extraction(dataset) or base_model.parameters > SMALL_MODEL:
        return "lora"
    full = default_hyperparameters(dataset=dataset, base_model=base_model, method="full")
    return "full" if _fits(dataset, base_model, full) else "lora"


def _is_extraction(dataset: DatasetVersion) -> bool:
    return task_of(dataset.schema_version.compiled.fields) == "extraction"


def _fits(dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> bool:
    """Whether a run is known to fit; False without the lengths of the documents."""
    estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=hyperparameters)
    return estimate is not None and bool(estimate.fits)
