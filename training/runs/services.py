"""Start, resume and cancel training runs; measure token lengths. Jobs write a run's row from there on."""

from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from labeling.integrations import events
from labeling.models import DatasetVersion, Project
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status, requeued_columns, resumed_by
from slmstudio.storage.artifacts import local_path
from training.base_models.downloads import download_required
from training.estimates.services import capabilities, estimate_for
from training.hyperparameters.definitions import Hyperparameters
from training.hyperparameters.validation import problems
from training.models import BaseModel, LengthReport, ModelVersion, TrainingRun
from training.runs.checks import (
    check_heads,
    check_lengths,
    check_not_empty,
    check_prepared,
    check_silver,
    early_stopping_problem,
)
from training.runs.run_spec import build_spec
from training.spec import HybridRef, RunSpec

MAX_NAME_LENGTH = 120


@transaction.atomic
def measure_lengths(*, dataset: DatasetVersion, base_model: BaseModel, user: User) -> LengthReport:
    """The length report of a dataset under a base model's tokenizer, queued where there is no current one.

    A report is measured again where it failed, or where the base model has changed since. The job prepares a local base
    model that is not prepared yet; a model of the hub must be downloaded first, on request.

    Raises:
        Refused: the dataset has no training documents, or the base model must be downloaded first.
    """
    require(dataset.project, user, Action.RUN)
    check_not_empty(dataset)
    if not base_model.is_local:
        raise download_required(base_model)
    LengthReport.objects.bulk_create(
        [LengthReport(dataset=dataset, base_model=base_model, created_by=user, status=Status.CANCELLED)],
        ignore_conflicts=True,
    )
    rows = LengthReport.objects.select_for_update(of=("self",))
    report: LengthReport = rows.select_related("base_model", "dataset").get(dataset=dataset, base_model=base_model)
    if not report.is_current and report.status not in ACTIVE:
        report.requeue_by(user)
    return report


@transaction.atomic
def start_training(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    base_model: BaseModel,
    hyperparameters: Hyperparameters,
    name: str = "",
) -> TrainingRun:
    """Queues a training run.

    Raises:
        Refused: the dataset has no training documents; the base model is not prepared; it is an encoder that can answer
            no field of the schema; lengths are not measured; documents are over the limit (with their ids); a
            hyperparameter is invalid; early stopping has no validation documents; the run needs more memory or disk
            than available (with a value that fits); a quota is used up.
    """
    require(project, user, Action.RUN)
    if dataset.project_id != project.pk:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if problem := quotas.compute_problem(project) or quotas.storage_problem(project):
        raise Refused(problem, field="dataset", code="quota")
    check_not_empty(dataset)
    check_prepared(base_model)
    check_hyperparameters(hyperparameters, base_model)
    check_heads(dataset, base_model, hyperparameters)
    if hyperparameters.silver:
        check_silver(dataset)
    if len(name) > MAX_NAME_LENGTH:
        raise Refused(f"A name can have at most {MAX_NAME_LENGTH} characters.", field="name")
    check_lengths(dataset, base_model, hyperparameters)
    inputs: dict[str, Any] = {"dataset": dataset, "base_model": base_model, "hyperparameters": hyperparameters}
    if problem := early_stopping_problem(**inputs):
        raise Refused(problem, field="early_stopping", code="no_validation_documents")
    estimate = estimate_for(**inputs)
    if estimate is not None and estimate.problems:
        raise refused_by_field(estimate.problems, code="does_not_fit")
    run: TrainingRun = TrainingRun.objects.create(
        project=project,
        number=project.next_number(TrainingRun),
        name=name.strip(),
        dataset=dataset,
        base_model=base_model,
        created_by=user,
        estimate=estimate.as_dict() if estimate is not None else {},
    )
    run.spec = build_spec(run, hyperparameters).to_yaml()
    run.hyperparameters = hyperparameters.as_dict()
    validate_fields(run)
    run.save(update_fields=["spec", "hyperparameters"])
    run.enqueue()
    return run


@transaction.atomic
def start_hybrid(
    *, encoder: ModelVersion, decoder: ModelVersion, hybrid: HybridRef, facts: dict[str, Any], user: User
) -> TrainingRun:
    """Queues the run that makes one model of two trained ones; it trains nothing.

    ``facts``: how its thresholds were chosen. Raises Refused where a quota is used up.
    """
    require(decoder.project, user, Action.RUN)
    project, source = decoder.project, decoder.training_run
    if problem := quotas.compute_problem(project) or quotas.storage_problem(project):
        raise Refused(problem, field="dataset", code="quota")
    run: TrainingRun = TrainingRun.objects.create(
        project=project,
        number=project.next_number(TrainingRun),
        name=f"{encoder.training_run} + {source}"[:MAX_NAME_LENGTH],
        dataset=source.dataset,
        base_model=source.base_model,
        created_by=user,
        hyperparameters=source.hyperparameters,
        facts={"hybrid": facts},
    )
    spec = replace(RunSpec.from_yaml(source.spec), output_dir=str(local_path(run.folder_key)), hybrid=hybrid)
    run.spec = spec.to_yaml()
    validate_fields(run)
    run.save(update_fields=["spec"])
    run.enqueue()
    return run


def check_hyperparameters(hyperparameters: Hyperparameters, base_model: BaseModel) -> None:
    """Raises Refused, by hyperparameter, where a value is invalid or no worker supports it."""
    if errors := problems(hyperparameters, base_model.context, encoder=base_model.is_encoder, **capabilities()):
        raise refused_by_field(errors, code="invalid")


def refused_by_field(errors: dict[str, str], *, code: str = "") -> Refused:
    """One error for several messages by field; the first is the main one."""
    field = next(iter(errors))
    return Refused(errors[field], field=field, code=code, errors=errors)


def file_keys(project: Project) -> list[str]:
    """Keys of a project's files in the artifact store: folders of training runs, exports included; samples of texts."""
    runs = [run.folder_key for run in TrainingRun.objects.of_project(project).only("pk")]
    return runs + [report.sample_key for report in LengthReport.objects.filter(dataset__project=project).only("pk")]


def notify_webhooks(run: TrainingRun) -> None:
    """Notifies the project's webhooks that a run has ended, in the transaction of its end."""

    def payload() -> dict[str, Any]:
        version = ModelVersion.objects.chosen().filter(training_run=run).first()
        return {
            "training": run.number,
            "base_model": run.base_model.slug,
            "dataset": run.dataset.number,
            "model_version": version.number if version is not None else None,
            "model_sha256": version.sha256 if version is not None else "",
            "url": run.get_absolute_url(),
        }

    events.emit_run_ended("training", run, run.project_id, payload)


@transaction.atomic
def resume(*, run: TrainingRun, user: User) -> None:
    """Queues a failed or cancelled run again, to resume from its checkpoint with the same spec.

    Raises:
        Refused: it is active or done, it has no checkpoint, a quota is used up, or its base model is missing.
    """
    require(run.project, user, Action.RUN)
    ended = _locked_ended_run(run)
    if not ended.checkpoint_step:
        raise Refused(
            "This run ended before its first checkpoint, so it cannot be resumed. Start a new run.",
            field="run",
            code="no_checkpoint",
        )
    _requeue(ended, user)
    run.refresh_from_db()


@transaction.atomic
def restart(run: TrainingRun, user: User) -> None:
    """Queues a failed run again, as ``resume`` does; one without a checkpoint starts from the beginning.

    Raises:
        Refused: it is active or done, a quota is used up, or its base model is missing.
    """
    _requeue(_locked_ended_run(run), user)
    run.refresh_from_db()


def _locked_ended_run(run: TrainingRun) -> TrainingRun:
    """The run, locked until the end of the transaction; Refused unless it failed or was cancelled."""
    rows = TrainingRun.objects.select_for_update(of=("self",))
    locked: TrainingRun = rows.select_related("base_model").get(pk=run.pk)
    if locked.status not in (Status.FAILED, Status.CANCELLED):
        raise Refused(
            f"This run is {locked.get_status_display().lower()} and cannot be resumed.", field="run", code="not_ended"
        )
    return locked


def _requeue(run: TrainingRun, user: User) -> None:
    """Queues a locked run under a new job; Refused where its base model is missing or a quota is used up."""
    if problem := quotas.compute_problem(run.project):
        raise Refused(problem, field="run", code="quota")
    check_prepared(run.base_model)
    changes: dict[str, Any] = {
        **requeued_columns(),
        "facts": {
            **resumed_by(run.facts, user, step=run.checkpoint_step),
            "forgiven": run.attempts,  # earlier attempts no longer count
        },
    }
    for name, value in changes.items():
        setattr(run, name, value)
    run.save(update_fields=list(changes))
    run.enqueue()
