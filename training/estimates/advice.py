"""The method of a run where none is chosen, and why. Reads only."""

from dataclasses import dataclass

from labeling.models import DatasetVersion
from training.estimates.services import estimate_for
from training.hyperparameters.defaults import default_hyperparameters
from training.hyperparameters.presets import task_of
from training.models import BaseModel

#: parameters up to which all weights are trained for an extraction where no method is chosen; larger models read long
#: values with an adapter, too
SMALL_MODEL = 500_000_000


@dataclass(frozen=True)
class Recommendation:
    """A method, and why as a sentence."""

    method: str
    reason: str


def recommendation(*, dataset: DatasetVersion, base_model: BaseModel) -> Recommendation:
    """``full`` for an extraction with a small model where full fine-tuning is known to fit, else ``lora``.

    Whether it fits is estimated with its preset. It is unknown without the lengths of the documents or a worker.
    """
    task = task_of(dataset.schema_version.compiled.fields)
    if task != "extraction":
        return Recommendation("lora", f"LoRA is recommended: an adapter is enough for {task}.")
    if base_model.parameters > SMALL_MODEL:
        return Recommendation("lora", "LoRA is recommended: an adapter is enough for a model of this size.")
    full = default_hyperparameters(dataset=dataset, base_model=base_model, method="full")
    estimate = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=full)
    if estimate is None:
        return Recommendation("lora", "LoRA is the default until the token lengths are known.")
    if estimate.fits is None:
        return Recommendation("lora", "LoRA is the default while no worker has reported its memory.")
    if estimate.problems:
        return Recommendation(
            "lora", "LoRA is recommended: full fine-tuning needs more memory or disk than the worker has."
        )
    # measured on receipts, see docs/benchmarks.md
    return Recommendation(
        "full",
        "Full fine-tuning is recommended: a small model needs all its weights for values that span several lines, such "
        "as addresses. It takes longer.",
    )


def recommended_method(*, dataset: DatasetVersion, base_model: BaseModel) -> str:
    """The method of a run where none is chosen: ``full`` or ``lora``."""
    return recommendation(dataset=dataset, base_model=base_model).method
