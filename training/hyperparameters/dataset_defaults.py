"""Default hyperparameters of a run, from the size of its dataset and the lengths of its documents. Reads only."""

import math
from dataclasses import replace

from labeling.models import DatasetVersion, Split
from training.hyperparameters.definitions import ENCODER_WINDOW, Hyperparameters
from training.hyperparameters.presets import ENCODER_SAMPLES, encoder_preset, preset, task_of
from training.models import BaseModel, LengthReport


def train_rows(dataset: DatasetVersion) -> int:
    """Training documents of a dataset version."""
    return int(dataset.counts.get("splits", {}).get(Split.TRAIN, 0))


def default_hyperparameters(
    *, dataset: DatasetVersion, base_model: BaseModel | None = None, method: str = "lora", rows: int | None = None
) -> Hyperparameters:
    """The preset for a dataset, with a sequence length that fits its documents where their lengths are known; for
    ``rows`` training documents, by default all. An encoder reads longer documents in windows.
    """
    rows = train_rows(dataset) if rows is None else rows
    task = task_of(dataset.schema_version.compiled.fields)
    if base_model is not None and base_model.is_encoder:
        hyperparameters = encoder_preset(rows, base_model.parameters, base_model.context, method, task)
        if dataset.counts.get("splits", {}).get(Split.VALIDATION, 0) < ENCODER_SAMPLES:
            # Too few to choose between epochs by: the last weights are kept.
            hyperparameters = replace(hyperparameters, best_metric="validation_loss")
        return hyperparameters
    hyperparameters = preset(rows, method, task)
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
    limits = [limit for limit in (context, ENCODER_WINDOW if report.base_model.is_encoder else 0) if limit]
    return min(needed, *limits)
