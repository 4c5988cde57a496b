"""Checks before a run starts, with their messages. Reads only."""

import math
from pathlib import Path

from django.utils.translation import ngettext

from labeling.models import DatasetVersion, Split
from slmstudio.errors import Refused
from slmstudio.storage.installation import PROGRAM
from training.base_models.downloads import download_required
from training.encoders.heads import plan_heads
from training.hyperparameters.dataset_defaults import needed_length, train_rows
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, LengthReport


def check_silver(dataset: DatasetVersion) -> None:
    """Raises Refused where a dataset version has no silver labels."""
    if not (dataset.counts.get("silver") or {}).get("documents"):
        raise Refused(
            f"{dataset} has no silver labels. Freeze a version with silver labels, or turn them off.", field="silver"
        )


def check_not_empty(dataset: DatasetVersion) -> None:
    """Raises Refused where a dataset version has no training documents."""
    if not train_rows(dataset):
        raise Refused(
            f"Dataset v{dataset.number} has no training documents. Label documents outside the hold-out and freeze a "
            "new version.",
            field="dataset",
            code="no_training_documents",
        )


def check_prepared(base_model: BaseModel) -> None:
    """Raises Refused where a base model cannot be loaded."""
    if not base_model.is_local:
        raise download_required(base_model)
    if not base_model.is_prepared:
        raise Refused(
            f"{base_model} is not prepared. Prepare it on the Base models page, or measure its token lengths.",
            field="base_model",
            code="not_prepared",
        )
    if not Path(base_model.folder).is_dir():
        raise Refused(
            f"The folder of {base_model} is missing. Prepare it again: {PROGRAM} models download {base_model.slug}.",
            field="base_model",
            code="folder_missing",
        )


def check_heads(dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> None:
    """Raises Refused where an encoder would have no head for the fields of a dataset's schema."""
    if base_model.is_encoder:
        plan_heads(dataset.schema_version.compiled).check(hyperparameters.without_heads)


def check_lengths(dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> None:
    """Raises Refused where lengths are not measured, or documents over the limit are neither split nor dropped.

    Sequences are never truncated. An encoder reads every document in windows, so their lengths need not be known.
    """
    if base_model.is_encoder:
        return
    report = LengthReport.objects.of(dataset, base_model)
    if report is None or not report.is_current:
        raise Refused(
            f"The token lengths of dataset v{dataset.number} under {base_model} are not measured yet.",
            field="dataset",
            code="lengths_unknown",
        )
    over = report.too_long(hyperparameters.max_length)
    if not over or hyperparameters.too_long == "windows":
        return
    if hyperparameters.too_long != "leave_out":
        message = _too_long_message(report, hyperparameters.max_length, over)
        raise Refused(message, field="max_length", code="too_long")
    train, dropped = report.totals(Split.TRAIN), report.too_long(hyperparameters.max_length, Split.TRAIN)
    if len(train) == len(dropped):
        raise Refused(
            f"No training document fits in {hyperparameters.max_length:,} tokens. Raise the sequence length.",
            field="max_length",
            code="all_too_long",
        )


def early_stopping_problem(*, dataset: DatasetVersion, base_model: BaseModel, hyperparameters: Hyperparameters) -> str:
    """Why there is no best evaluation to stop by or to keep: no validation document is left. Empty where there is one,
    or none is asked for.
    """
    if hyperparameters.early_stopping is None and hyperparameters.best_metric == "validation_loss":
        return ""
    if not dataset.counts.get("splits", {}).get(Split.VALIDATION):
        return (
            f"Early stopping requires validation documents, and dataset v{dataset.number} has none. Leave it empty, or "
            "freeze a version with a validation split."
        )
    if hyperparameters.too_long != "leave_out":
        return ""
    report = LengthReport.objects.of(dataset, base_model)
    if report is None or not report.is_current:
        return ""
    shortest = min((tokens for _, tokens in report.totals(Split.VALIDATION)), default=0)
    if shortest <= hyperparameters.max_length:
        return ""
    enough = math.ceil(shortest / 64) * 64
    return (
        f"Early stopping requires validation documents, and all of them are longer than {hyperparameters.max_length:,} "
        f"tokens, so they are dropped. Leave it empty, or set the sequence length to {enough:,} or more."
    )


def _too_long_message(report: LengthReport, limit: int, over: list[str]) -> str:
    """How many documents are over the limit, which, and what to change."""
    listed = ", ".join(over[:5]) + (f" and {len(over) - 5} more" if len(over) > 5 else "")
    documents = ngettext("%d document is", "%d documents are", len(over)) % len(over)
    context = report.base_model.context
    if context and report.longest > context:
        advice = f"The model reads at most {context:,} tokens; split longer documents into windows."
    else:
        advice = f"Set the sequence length to {needed_length(report):,}, or split longer documents into windows."
    return f"{documents} longer than {limit:,} tokens ({listed}); the longest has {report.longest:,}. {advice}"
