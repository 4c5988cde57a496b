"""What else a person could choose for a run that is about to be started. Nothing here writes."""

from dataclasses import replace

from labeling.models import DatasetVersion
from training.estimates.services import estimate_for
from training.models import BaseModel
from training.runs.presets import Knobs, task_of
from training.runs.services import fitting_knobs

#: what is known of it was measured on one job; see docs/benchmarks.md
ALL_WEIGHTS = (
    "Values that run over several lines, such as addresses, are learned last. With all weights and the eight passes of "
    "its preset, receipts of SROIE came to 86.7 F1; it takes longer."
)


def all_weights_advice(*, dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs) -> str:
    """A sentence for who extracts by LoRA; empty where all weights would not fit, or where nobody knows if they do.

    What would be trained then is the preset of full fine-tuning, within the limits that these knobs set.
    """
    if knobs.method != "lora" or task_of(dataset.schema_version.compiled.fields) != "extraction":
        return ""
    full = replace(
        fitting_knobs(dataset=dataset, base_model=base_model, method="full"),
        max_length=knobs.max_length,
        too_long=knobs.too_long,
        precision=knobs.precision,
        activation_checkpointing=knobs.activation_checkpointing,
    )
    found = estimate_for(dataset=dataset, base_model=base_model, knobs=full)
    return ALL_WEIGHTS if found is not None and found.fits else ""
