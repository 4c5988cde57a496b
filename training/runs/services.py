"""Starting, measuring and stopping fine-tunings. The only place that writes the rows of a run before it is worked."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max

from labeling.datasets.queries import file_path
from labeling.models import DatasetVersion, Project, Split
from slmstudio import quotas
from slmstudio.contract.schema.compiled import loads
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status, requeued_columns, resumed_by
from slmstudio.runs.reaper import reap_lost_runs
from slmstudio.storage.artifacts import local_path
from training.estimates.machines import abilities
from training.estimates.services import estimate_for
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.presets import Knobs, preset, problems, task_of
from training.spec import RunSpec
from training.strict_yaml import build

__all__ = [
    "Knobs",
    "cancel",
    "early_stopping_problem",
    "fitting_knobs",
    "measure_lengths",
    "preset",
    "reap_lost_runs",
    "resume",
    "start_training",
]


def train_rows(dataset: DatasetVersion) -> int:
    """Documents of a dataset version that a run learns from."""
    return int(dataset.counts.get("splits", {}).get(Split.TRAIN, 0))


def fitting_knobs(*, dataset: DatasetVersion, base_model: BaseModel | None = None, method: str = "lora") -> Knobs:
    """The preset for this dataset, with a sequence length that its documents fit in where their lengths are known."""
    knobs = preset(train_rows(dataset), method, task_of(dataset.schema_version.compiled.fields))
    if base_model is None:
        return knobs
    report = LengthReport.objects.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()
    limit = knobs.max_length
    if report is not None and report.current:
        limit = max(limit, needed_length(report))
    return replace(knobs, max_length=min(limit, base_model.context) if base_model.context else limit)


def needed_length(report: LengthReport) -> int:
    """The sequence length that every document fits in: the longest, up to the next 64, within the model's context."""
    needed = math.ceil(report.longest / 64) * 64
    context = report.base_model.context
    return min(needed, context) if context else needed


@transaction.atomic
def measure_lengths(*, dataset: DatasetVersion, base_model: BaseModel, user: User) -> LengthReport:
    """The length report of a dataset under a base model's tokenizer: the one there is, or a new one that is queued.

    A report is measured again where it failed, or where the base model has changed since. A base model of this machine
    that is not prepared yet is prepared by the job; one of the hub has to be fetched first, by somebody who wants it.

    Raises:
        Refused: the dataset has nothing to learn from, or the base model would have to be downloaded.
    """
    _refuse_empty(dataset)
    if not base_model.here:
        raise unfetched(base_model)
    LengthReport.objects.bulk_create(
        [LengthReport(dataset=dataset, base_model=base_model, created_by=user, status=Status.CANCELLED)],
        ignore_conflicts=True,
    )
    report = (
        LengthReport.objects.select_for_update(of=("self",))
        .select_related("base_model", "dataset")
        .get(dataset=dataset, base_model=base_model)
    )
    if report.current or report.status in ACTIVE:
        return report
    report.requeue_by(user)
    return report


@transaction.atomic
def start_training(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    base_model: BaseModel,
    knobs: Knobs,
    name: str = "",
) -> TrainingRun:
    """Queues a fine-tuning.

    Raises:
        Refused: nothing to learn from, a base model that is not prepared, lengths that are not measured, documents over
            the limit (with their ids and the knob), a knob with a value that makes no sense, early stopping without a
            document to look at, or more memory or disk than there is (with the knob to turn).
    """
    if dataset.project_id != project.pk:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if why := quotas.compute_problem(project) or quotas.storage_problem(project):
        raise Refused(why, field="dataset")
    _refuse_empty(dataset)
    _refuse_unprepared(base_model)
    wrong = problems(knobs, base_model.context, **abilities())
    if wrong:
        first, *_ = wrong
        raise Refused(wrong[first], field=first, errors=wrong)
    if len(name) > 120:
        raise Refused("A name has at most 120 characters.", field="name")
    _refuse_lengths(dataset, base_model, knobs)
    if why := early_stopping_problem(dataset=dataset, base_model=base_model, knobs=knobs):
        raise Refused(why, field="early_stopping")
    foretold = estimate_for(dataset=dataset, base_model=base_model, knobs=knobs)
    if foretold is not None and foretold.refusals:
        first, *_ = foretold.refusals
        raise Refused(foretold.refusals[first], field=first, errors=foretold.refusals)
    Project.objects.select_for_update().get(pk=project.pk)  # numbers are given one at a time
    last = TrainingRun.objects.filter(project=project).aggregate(last=Max("number"))["last"] or 0
    run = TrainingRun.objects.create(
        project=project,
        number=last + 1,
        name=name.strip(),
        dataset=dataset,
        base_model=base_model,
        created_by=user,
        estimate=foretold.as_dict() if foretold is not None else {},
    )
    run.spec = build_spec(run, knobs).to_yaml()
    run.full_clean()
    run.save(update_fields=["spec"])
    run.enqueue()
    return run


def file_keys(project: Project) -> list[str]:
    """Keys of the folders of a project's trainings in the artifact store, exports included."""
    rows: Any = TrainingRun.objects.filter(project=project).only("pk")
    return [run.folder_key for run in rows]


def cancel(run: TrainingRun) -> bool:
    """Stops a run: at once while it waits, as soon as its process has saved a checkpoint otherwise; it can be resumed
    from there. False: it had ended already.
    """
    return run.cancel()


@transaction.atomic
def resume(*, run: TrainingRun, user: User) -> None:
    """Queues a run again that failed or was cancelled, to go on from its checkpoint under the spec it has.

    Raises:
        Refused: it is at work or done, it has no checkpoint, a quota is used up, or what it needs is gone.
    """
    found = _ended(run)
    if not found.checkpoint_step:
        raise Refused(
            "This run ended before its first checkpoint, so there is nothing to resume. Start a new one.", field="run"
        )
    _queue_again(found, user)
    run.refresh_from_db()


@transaction.atomic
def start_again(run: TrainingRun, user: User) -> None:
    """Queues a failed run again, as ``resume`` does, and one without a checkpoint from its beginning.

    Raises:
        Refused: it is at work or done, or what it needs is gone.
    """
    _queue_again(_ended(run), user)
    run.refresh_from_db()


def _ended(run: TrainingRun) -> TrainingRun:
    """The run as it is, held until the end of the transaction; Refused unless it failed or was cancelled."""
    rows: Any = TrainingRun.objects.select_for_update(of=("self",))
    found: TrainingRun = rows.select_related("base_model").get(pk=run.pk)
    if found.status not in (Status.FAILED, Status.CANCELLED):
        raise Refused(f"This run is {found.get_status_display()}: there is nothing to resume.", field="run")
    return found


def _queue_again(found: TrainingRun, user: User) -> None:
    """Queues it under a new job; Refused where its base model is gone or a quota is used up."""
    if why := quotas.compute_problem(found.project):
        raise Refused(why, field="run")
    _refuse_unprepared(found.base_model)
    again: dict[str, Any] = {
        **requeued_columns(),
        "facts": {
            **resumed_by(found.facts, user, step=found.checkpoint_step),
            "forgiven": found.attempts,  # whoever resumes it has looked at what was wrong
        },
    }
    for name, value in again.items():
        setattr(found, name, value)
    found.save(update_fields=list(again))
    found.enqueue()


def _refuse_empty(dataset: DatasetVersion) -> None:
    if not train_rows(dataset):
        raise Refused(
            f"Dataset v{dataset.number} has no training documents. Label some outside the hold-out and freeze again.",
            field="dataset",
        )


def unfetched(base_model: BaseModel) -> Refused:
    """What is said where a model would have to be downloaded: nobody's disk is filled without being asked."""
    return Refused(
        f"{base_model} is not on this machine yet. Have it fetched on the page Base models, or with "
        f"manage.py models pull {base_model.slug}.",
        field="base_model",
    )


def _refuse_unprepared(base_model: BaseModel) -> None:
    if not base_model.here:
        raise unfetched(base_model)
    if not base_model.ready:
        raise Refused(
            f"{base_model} is not prepared yet. Press Prepare on the page Base models, or have its token lengths "
            "measured, which prepares it too.",
            field="base_model",
        )
    if not Path(base_model.folder).is_dir():
        raise Refused(
            f"The folder of {base_model} is gone. Prepare it again: manage.py models pull {base_model.slug}.",
            field="base_model",
        )


def _refuse_lengths(dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs) -> None:
    """No sequence is ever cut in silence: lengths are known, and rows over the limit stop the run or are left out."""
    report = LengthReport.objects.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()
    if report is None or not report.current:
        raise Refused(
            f"The token lengths of dataset v{dataset.number} under {base_model} are not measured yet.", field="dataset"
        )
    over = report.too_long(knobs.max_length)
    if not over:
        return
    if knobs.too_long == "leave_out":
        left = len(report.totals(Split.TRAIN)) - len(report.too_long(knobs.max_length, Split.TRAIN))
        if left < 1:
            raise Refused(
                f"No training document fits in {knobs.max_length:,} tokens: leaving the long ones out leaves nothing.",
                field="max_length",
            )
        return
    raise Refused(over_the_limit(report, knobs.max_length, over), field="max_length")


def early_stopping_problem(*, dataset: DatasetVersion, base_model: BaseModel, knobs: Knobs) -> str:
    """Why early stopping cannot be: no validation document would be there to look at. Empty where it can, or is off."""
    if knobs.early_stopping is None:
        return ""
    if not dataset.counts.get("splits", {}).get(Split.VALIDATION):
        return (
            f"Early stopping looks at validation documents, and dataset v{dataset.number} has none. Leave it empty, or "
            "freeze a version with a validation split."
        )
    if knobs.too_long != "leave_out":
        return ""
    report = LengthReport.objects.filter(dataset=dataset, base_model=base_model).select_related("base_model").first()
    if report is None or not report.current:
        return ""
    shortest = min((tokens for _, tokens in report.totals(Split.VALIDATION)), default=0)
    if shortest <= knobs.max_length:
        return ""
    enough = math.ceil(shortest / 64) * 64
    return (
        f"Early stopping looks at validation documents, and all of them are longer than {knobs.max_length:,} tokens, "
        f"so they are left out. Leave it empty, or set max sequence length to {enough:,} or more."
    )


def over_the_limit(report: LengthReport, limit: int, over: list[str]) -> str:
    """The sentence for documents that do not fit: how many, which, and what to turn."""
    named = ", ".join(over[:5]) + (f" and {len(over) - 5} more" if len(over) > 5 else "")
    which = "1 document is" if len(over) == 1 else f"{len(over)} documents are"
    context = report.base_model.context
    if context and report.longest > context:
        way = f"the model reads at most {context:,} tokens, so leave such documents out"
    else:
        way = f"set max sequence length to {needed_length(report):,}, or leave such documents out"
    return f"{which} longer than {limit:,} tokens ({named}); the longest has {report.longest:,}: {way}."


def build_spec(run: TrainingRun, knobs: Knobs) -> RunSpec:
    """The RunSpec of a run: its knobs, and everything it rests on with its hash."""
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
            "method": knobs.method,
            "lora": {"r": knobs.lora_r, "alpha": knobs.lora_alpha, "dropout": knobs.lora_dropout},
            "max_length": knobs.max_length,
            "batch_size": knobs.batch_size,
            "accumulation": knobs.accumulation,
            "learning_rate": knobs.learning_rate,
            "scheduler": knobs.scheduler,
            "warmup_ratio": knobs.warmup_ratio,
            "epochs": knobs.epochs,
            "precision": knobs.precision,
            "activation_checkpointing": knobs.activation_checkpointing,
            "devices": knobs.devices,
            "early_stopping": knobs.early_stopping,
            "trackers": list(knobs.trackers),
            "seed": knobs.seed,
            "too_long": knobs.too_long,
            "output_dir": str(local_path(run.folder_key)),
        },
    )


def knobs_of(spec: RunSpec) -> Knobs:
    """The knobs a spec was made with."""
    return Knobs(
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
        trackers=spec.trackers,
    )
