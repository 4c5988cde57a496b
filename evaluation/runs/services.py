"""Evaluation runs: start, cancel, resume."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from evaluation.audit import services as audit_services
from evaluation.endpoints import permits
from evaluation.inference.backends import backend_class_of, check_schema, columns_of
from evaluation.inference.external import changed_settings, settings_of
from evaluation.inference.spec import MAX_CONCURRENCY
from evaluation.models import (
    Benchmark,
    ClassicalModel,
    Endpoint,
    EvalOutput,
    EvalRun,
    GateReport,
    OptimizedPrompt,
    PrelabelRun,
)
from evaluation.runs import run_documents
from labeling.integrations import events
from labeling.models import DatasetVersion, Project, SchemaVersion, Split
from slmstudio import quotas
from slmstudio.access import Action, require
from slmstudio.contract.decoding.grounding import candidates
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.hooks import Hook
from slmstudio.runs.models import Status, resumed_by
from training.models import BaseModel, ModelExport, ModelVersion, TrainingRun

#: what a backend runs (``evaluation.inference.backends``)
BareModel = BaseModel | TrainingRun | ModelVersion | ModelExport | Endpoint | ClassicalModel
#: what can be evaluated: also a base model or an endpoint with its optimized prompt
Model = BareModel | OptimizedPrompt
#: the rates of an evaluation that programs get: documents that are valid, fields and documents that are right
RATES = ("schema_valid", "field_exact", "document_exact")


class EvaluationPrice(Protocol):
    """The price of a hold-out evaluation: a sentence, and what a confirmation of it sends."""

    @property
    def sentence(self) -> str: ...

    @property
    def token(self) -> str: ...


#: a dataset version and a model -> the price of an evaluation on its hold-out
holdout_price: Hook[[DatasetVersion, Model], EvaluationPrice] = Hook()
#: an evaluation has ended with any status; called again where the caller cannot know whether it was
evaluation_ended: Hook[[EvalRun], object] = Hook()


@transaction.atomic
def start_evaluation(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    model: Model,
    split: str = Split.VALIDATION,
    mode: str = EvalRun.Mode.CONSTRAINED,
    benchmark: Benchmark | None = None,
    concurrency: int = 1,
    idempotency_key: str = "",
    confirm_holdout: bool = False,
) -> EvalRun:
    """Queues an evaluation of a base model, the model version of a training run, one of its GGUF files, or an endpoint.
    Of a run that kept best and last, ``model`` is the run for the weights that it chose, else the model version.

    A training run may still be queued: the evaluation starts after it. With a ``benchmark`` its documents replace those
    of a split, and the job prepares a base model that is not prepared. Hold-out documents are sent to an endpoint only
    with the owner's permission. ``concurrency``: concurrent documents; latency is measured with 1. The hold-out must be
    chosen explicitly and its price confirmed (``confirm_holdout``), because hold-out evaluations are counted.
    ``idempotency_key``: of the request, once in a project.

    Raises:
        Refused: ``field`` is one of model, dataset, split, mode, concurrency, confirmed (code
            ``holdout_not_confirmed``, with the price). Nothing is queued then.
    """
    require(project, user, Action.RUN)
    prompt = model if isinstance(model, OptimizedPrompt) else None
    if prompt is not None:
        _check_prompt(project, prompt, dataset)
    bare = model.model if isinstance(model, OptimizedPrompt) else model
    _check_model(project, bare, benchmark)
    if dataset.project_id != project.pk:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if problem := quotas.compute_problem(project):
        raise Refused(problem, field="model", code="quota")
    if benchmark is not None:
        split = EvalRun.BENCHMARK
    elif split not in Split.values:
        raise Refused(f"Choose a split: {', '.join(Split.values)}.", field="split")
    if mode not in EvalRun.Mode.values:
        raise Refused(f"Choose a decoding mode: {', '.join(EvalRun.Mode.values)}.", field="mode")
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise Refused(f"Choose a concurrency between 1 and {MAX_CONCURRENCY}.", field="concurrency")
    if mode == EvalRun.Mode.GROUNDED and not candidates(dataset.schema_version.compiled):
        raise Refused("No field of the schema is copied from the document (evidence: required).", field="mode")
    backend_class_of(bare).check_model(bare, mode=mode, concurrency=concurrency)
    check_schema(bare, dataset.schema_version)
    if obstacle := holdout_obstacle(model, split):
        raise Refused(obstacle, field="split")
    if benchmark is None and not dataset.items.filter(split=split).exists():
        label = Split(split).label.lower()
        raise Refused(
            f"The {label} split of {dataset} is empty. Choose another or freeze a new version.", field="split"
        )
    if split == Split.HOLDOUT and not confirm_holdout:
        check_price(dataset, model)
    run = EvalRun(
        project=project,
        number=project.next_number(EvalRun),
        dataset=dataset,
        split=split,
        mode=mode,
        concurrency=concurrency,
        idempotency_key=idempotency_key,
        benchmark=benchmark,
        created_by=user,
        prompt=prompt,
        **columns_of(bare),
    )
    run.progress_total = run_documents.count(run)
    validate_fields(run)
    run.save()
    audit_services.record(
        project=project,
        user=user,
        action="started",
        about=f"evaluation {run.number}",
        details={"model": run.model_label, "dataset": dataset.sha256, "split": str(split), "mode": str(mode)},
    )
    run.enqueue()
    return run


def check_price(dataset: DatasetVersion, model: Model) -> None:
    """Raises Refused with the price of an evaluation on the hold-out, which has to be confirmed."""
    if price := next(iter(holdout_price.call(dataset, model)), None):
        raise Refused(
            f"Confirm the hold-out evaluation. {price.sentence}", field="confirmed", code="holdout_not_confirmed"
        )


def _check_prompt(project: Project, prompt: OptimizedPrompt, dataset: DatasetVersion) -> None:
    if prompt.project_id != project.pk:
        raise Refused("That prompt belongs to another project.", field="model")
    if not prompt.is_usable:
        raise Refused(f"{prompt} is not ready: its search is not done.", field="model")
    if prompt.dataset.schema_version_id != dataset.schema_version_id:
        raise Refused(f"{prompt} was found with a different schema. Start a new search.", field="model")


def _check_model(project: Project, model: BareModel, benchmark: Benchmark | None) -> None:
    if isinstance(model, BaseModel):
        if not model.is_prepared and benchmark is None:
            raise Refused(f"{model} is not prepared. Prepare it first.", field="model")
        return
    owner = model.model_version if isinstance(model, ModelExport) else model
    if owner.project_id != project.pk:
        raise Refused("That model belongs to another project.", field="model")
    if isinstance(model, TrainingRun) and model.status in (Status.FAILED, Status.CANCELLED):
        raise Refused(
            f"{model} {model.get_status_display().lower()} and did not produce a model to evaluate.", field="model"
        )
    if isinstance(model, ModelExport) and model.status != Status.DONE:
        raise Refused(f"{model} is not exported yet. Export it on the page of its training run first.", field="model")
    version = owner.model_version if isinstance(owner, TrainingRun) else owner
    if isinstance(version, ModelVersion) and version.weights_deleted_at is not None:
        raise Refused(f"The weights of {version} were deleted. Train the model again.", field="model")


def holdout_obstacle(model: Model | None, split: str) -> str:
    """Why hold-out documents cannot be sent to a model; "" where they can, or stay on this machine."""
    if isinstance(model, OptimizedPrompt):
        model = model.model
    if split != Split.HOLDOUT or not isinstance(model, Endpoint) or permits.permit_for(model) is not None:
        return ""
    return (
        f"Hold-out documents would be sent to {model}. Ask the project owner to permit this on the page of the "
        "endpoint, or choose another split."
    )


def need_of_weights(version: ModelVersion) -> str:
    """What still needs the weights of a model version; "" for nothing. Finished evaluations have their outputs."""
    report = GateReport.objects.filter(eval_run__model_version=version).order_by("number").first()
    if report is not None:
        return str(report)
    own = Q(model_version=version)
    if not version.is_alternative:  # named by its training until it starts
        own |= Q(model_version=None, training_run=version.training_run_id)
    evaluation = EvalRun.objects.live().filter(own).first()
    if evaluation is not None:
        return f"evaluation {evaluation.number}"
    prelabels = PrelabelRun.objects.live().filter(model_version=version).first()
    return "" if prelabels is None else str(prelabels)


def decoding_modes(schema: SchemaVersion | None, model: Model | None = None) -> list[tuple[str, str]]:
    """The decoding modes that a schema and a model allow, with their labels; grounded only where a field is copied, and
    none for a model that does not generate text."""
    copied = schema is not None and bool(candidates(schema.compiled))
    modes = [(mode, label) for mode, label in EvalRun.Mode.choices if copied or mode != EvalRun.Mode.GROUNDED]
    if model is None:
        return modes
    bare = model.model if isinstance(model, OptimizedPrompt) else model
    backend = backend_class_of(bare)
    return [(mode, label) for mode, label in modes if backend.decodes and backend.supports(bare, mode)]


def waits_for_training(run: EvalRun) -> bool:
    """Whether the run's training has not ended, so the run stays queued behind other jobs.

    With one worker the training is ahead of the evaluation on the same queue; with several, the evaluation is requeued
    until the training has ended.
    """
    training = run.training_run
    if training is None or run.status != Status.QUEUED:
        return False
    training.refresh_from_db(fields=["status"])
    return training.is_live


def cancel(*, run: EvalRun, user: User) -> bool:
    """Cancels a queued run at once and asks a running one to stop. False if it had ended before."""
    require(run.project, user, Action.RUN)
    if not run.cancel():
        return False
    audit_services.record(project=run.project, user=user, action="cancelled", about=f"evaluation {run.number}")
    if not run.is_live:
        evaluation_ended.call(run)
    return True


def notify_webhooks(run: EvalRun) -> None:
    """Notifies the project's webhooks that an evaluation has ended, in the transaction of its end."""

    def payload() -> dict[str, Any]:
        rates = {name: run.scores.get(name, {}).get("rate") for name in RATES}
        return {
            "evaluation": run.number,
            "model": run.model_label,
            "split": str(run.split),
            "mode": str(run.mode),
            "dataset": run.dataset.number,
            "benchmark": run.benchmark.number if run.benchmark is not None else None,
            "rescored_from": run.rescored_from.number if run.rescored_from is not None else None,
            "documents": run.scores.get("documents"),
            **rates,
            "outputs_sha256": run.outputs_sha256,
            "url": run.get_absolute_url(),
        }

    events.emit_run_ended("evaluation", run, run.project_id, payload)


@transaction.atomic
def resume(*, run: EvalRun, user: User) -> None:
    """Queues a failed evaluation over an endpoint again. Its answers are kept and not paid for twice; documents that
    failed are sent again. Refused if the endpoint has changed since it answered: one evaluation is of one model.

    Raises:
        Refused: it cannot be resumed; nothing is queued then, and nothing is lost.
    """
    require(run.project, user, Action.RUN)
    rows = EvalRun.objects.select_for_update(of=("self",))
    locked: EvalRun = rows.select_related("endpoint", "project").get(pk=run.pk)
    endpoint = locked.endpoint
    if not locked.can_resume or endpoint is None:
        raise Refused(f"Evaluation {locked.number} cannot be resumed. Start it again.", field="run")
    if problem := quotas.compute_problem(locked.project):
        raise Refused(problem, field="run", code="quota")
    locked.backend.check_model(endpoint, mode=locked.mode, concurrency=min(locked.concurrency, endpoint.concurrency))
    if obstacle := holdout_obstacle(endpoint, locked.split):
        raise Refused(obstacle, field="split")
    conflict = resume_conflict(locked, settings_of(endpoint))
    if conflict and EvalOutput.objects.filter(eval_run=locked).exclude(finish_reason="error").exists():
        raise Refused(conflict, field="run")
    # The attempts before do not count.
    locked.facts = {
        **resumed_by(locked.facts, user),
        "go_on": True,
        "forgiven": int(locked.facts.get("attempts") or 0),
    }
    locked.save(update_fields=["facts"])
    locked.requeue_by(locked.created_by)
    audit_services.record(project=locked.project, user=user, action="resumed", about=f"evaluation {locked.number}")


def resume_conflict(run: EvalRun, now: Mapping[str, Any]) -> str:
    """Why outputs of an endpoint cannot be kept with the settings of now; "" if they can. ``now``: facts by name;
    those that may change are ignored.
    """
    changed = changed_settings(run.facts, now)
    if not changed:
        return ""
    return (
        f"The {changed} of {run.model_label} changed since this evaluation started. Restore the old value to resume, "
        "or start again. Existing answers are kept."
    )


def file_keys(project: Project) -> Iterator[str]:
    """Keys of the folders of a project's evaluations, pre-labels and classical models in the artifact store."""
    tables: tuple[Any, ...] = (EvalRun, PrelabelRun, ClassicalModel)
    for table in tables:
        for run in table.objects.filter(project=project).only("pk"):
            yield run.folder_key
