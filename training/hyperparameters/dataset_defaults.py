"""Default hyperparameters of a run, from the size of its dataset and the lengths of its documents. Reads only."""

import math
from dataclasses import replace

from labeling.models import DatasetVersion, Split
from training.hyperparameters.definitions import Hyperparameters
from training.hyperparameters.presets import preset, task_of
from training.models import BaseModel, LengthReport


def train_rows(dataset: DatasetVersion) -> int:
    """Training documents of a dataset version."""
    return int(dataset.counts.get("splits", {}).get(Split.TRAIN, 0))


def default_hyperparameters(
    *, dataset: DatasetVersion, base_model: BaseModel | None = None, method: str = "lora"
) -> Hyperparameters:
    """The preset for a dataset, with a sequence length that fits its documents where their lengths are known."""
    hyperparameters = preset(train_rows(dataset), method, task_of(dataset.schema_version.compiled.fields))
    if base_model is None:
        return hyperparameters
    report = LengthReport.objects.of(dataset, base_model)
    limit = hyperparameters.max_length
    if report is not None and report.is_current:
        limit = max(limit, needed_length(report))
    return replace(hyperparameters, max_length=min(limit, base_model.context) if base_model.context else limit)


def needed_length(report: LengthReport) -> int:
    """The sequence length that fits every document within the model's context: the longest of them, rounded up to 64.
    Longer documents have windows anyway, and short windows train faster.
    """
    context = report.base_model.context
    fitting = [tokens for _, tokens in report.totals() if not context or tokens <= context]
    needed = math.ceil(max(fitting, default=0) / 64) * 64
    return min(needed, context) if context else needed
