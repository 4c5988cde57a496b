"""The pipeline: evaluate the base model, fine-tune, evaluate the tuned model, compare, gate.

Both models are evaluated on the validation split, where errors can be read. Only the gate report uses the hold-out: one
evaluation of each model. Decoding is grounded if the training gold allows it for a field: values that no document
contains are excluded, and outputs are faster. An encoder has no decoding, and its base model does not answer: only the
tuned model is evaluated.

Every stage is an ordinary run on its usual queue; the pipeline stores which runs belong together. A run that ends calls
``advance``; after the last one, ``advance`` compares the models and makes the gate report.
"""

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.comparison.services import get_or_create_comparison
from evaluation.gates.baselines import default_baseline
from evaluation.gates.policy.definition import GateError
from evaluation.gates.services import create_report
from evaluation.models import EvalRun, PipelineRun
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries
from labeling.models import DatasetVersion, Project, Split
from slmstudio.access import Action, Forbidden, require
from slmstudio.contract.decoding.grounding import build_plan, candidates
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, TrainingRun
from training.runs.services import start_training

#: the evaluations of a pipeline, by column and in the report: ``base`` and ``tuned`` are on the hold-out
EVALUATIONS = ("base", "tuned", "base_validation", "tuned_validation", "base_free", "tuned_free")


@dataclass(frozen=True)
class PipelineStage:
    """One stage of a pipeline: its name and its run."""

    name: str
    run: BackgroundRun


@transaction.atomic
def start_pipeline(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    base_model: BaseModel,
    hyperparameters: Hyperparameters,
    name: str = "",
    with_free: bool = False,
) -> PipelineRun:
    """Queues all stages in order on the queue of the GPU worker.

    The hold-out is evaluated, which has a price (``evaluation.gates.holdout.price``): callers state it.
    ``with_free``: also evaluate both models with unconstrained decoding. Without validation documents, the models are
    evaluated on the hold-out only.

    Raises:
        Refused: from ``start_training`` or ``start_evaluation``; nothing is queued then.
    """
    require(project, user, Action.RUN)

    has_validation = dataset.items.filter(split=Split.VALIDATION).exists()
    is_encoder = base_model.is_encoder
    default = EvalRun.Mode.CONSTRAINED if is_encoder else default_mode(dataset)

    def evaluate(model: BaseModel | TrainingRun, split: str, mode: str = default) -> EvalRun:
        return start_evaluation(
            project=project, user=user, dataset=dataset, model=model, split=split, mode=mode, confirm_holdout=True
        )

    def on_validation(name: str, model: BaseModel | TrainingRun) -> dict[str, EvalRun]:
        runs = {}
        if has_validation:
            runs[f"{name}_validation"] = evaluate(model, Split.VALIDATION)
        if has_validation and with_free and not is_encoder:
            runs[f"{name}_free"] = evaluate(model, Split.VALIDATION, EvalRun.Mode.FREE)
        return runs

    # In the order in which one worker runs them.
    runs = {} if is_encoder else on_validation("base", base_model)
    training_run = start_training(
        project=project, user=user, dataset=dataset, base_model=base_model, hyperparameters=hyperparameters, name=name
    )
    runs |= on_validation("tuned", training_run)
    if not is_encoder:
        runs["base"] = evaluate(base_model, Split.HOLDOUT)
    runs["tuned"] = evaluate(training_run, Split.HOLDOUT)
    pipeline = PipelineRun(
        project=project,
        dataset=dataset,
        created_by=user,
        # No job of its own: it is running from the start, without heartbeats, and the reaper skips it.
        status=Status.RUNNING,
        started_at=timezone.now(),
        training_run=training_run,
        **runs,
    )
    parts = stages(pipeline)
    pipeline.stage, pipeline.progress_total = parts[0].name, len(parts)
    pipeline.save()
    return pipeline


def default_mode(dataset: DatasetVersion) -> str:
    """The decoding mode of a pipeline: grounded where the training gold allows it for a field, else constrained.

    Raises:
        FileNotFoundError: the dataset's file is missing.
    """
    compiled = dataset.schema_version.compiled
    if not candidates(compiled):
        return EvalRun.Mode.CONSTRAINED
    plan = build_plan(compiled, ((row["text"], row["gold"]) for row in queries.rows(dataset, Split.TRAIN)))
    return EvalRun.Mode.GROUNDED if plan.held else EvalRun.Mode.CONSTRAINED


def stages(pipeline: PipelineRun) -> list[PipelineStage]:
    """The runs of a pipeline in order."""
    rows = [
        ("evaluation of the base model", pipeline.base_validation),
        ("evaluation of the base model, unconstrained", pipeline.base_free),
        ("fine-tuning", pipeline.training_run),
        ("evaluation of the fine-tuned model", pipeline.tuned_validation),
        ("evaluation of the fine-tuned model, unconstrained", pipeline.tuned_free),
        ("hold-out evaluation of the base model", pipeline.base),
        ("hold-out evaluation of the fine-tuned model", pipeline.tuned),
    ]
    return [PipelineStage(name, run) for name, run in rows if run is not None]


def latest_pipeline(project: Project) -> dict[str, Any] | None:
    """The context of the panel: the newest pipeline of a project with its stages; None if there is none."""
    rows = PipelineRun.objects.filter(project=project).order_by("-pk")
    pipeline = rows.select_related("dataset", "training_run", "comparison", "gate_report").first()
    if pipeline is None:
        return None
    # One query for all runs: planning a join of every run with its relations takes longer than the page.
    keys = {name: getattr(pipeline, f"{name}_id") for name in EVALUATIONS}
    runs = EvalRun.objects.with_model().in_bulk([key for key in keys.values() if key is not None])
    for name, key in keys.items():
        if key is not None:
            setattr(pipeline, name, runs[key])
    return {"project": project, "pipeline": pipeline, "stages": stages(pipeline)}


def on_evaluation_ended(run: EvalRun) -> None:
    """Advances the pipelines of an evaluation that has ended with any status."""
    if run.benchmark_id is not None:
        return
    rows = PipelineRun.objects.live().filter(project_id=run.project_id)
    for pk in rows.values_list("pk", flat=True):
        advance(pk)


def advance(pk: int) -> PipelineRun | None:
    """Updates a pipeline from its runs: fails, records progress or concludes. Idempotent; safe to call concurrently."""
    with transaction.atomic():
        pipeline = (
            PipelineRun.objects.select_for_update(of=("self",))
            .select_related("training_run", *EVALUATIONS)
            .filter(pk=pk)
            .first()
        )
        if pipeline is None or not pipeline.is_live:
            return pipeline
        parts = stages(pipeline)
        failed = [part for part in parts if part.run.status in (Status.FAILED, Status.CANCELLED)]
        if failed:
            first = failed[0]
            pipeline.fail(
                f"The {first.name} {first.run.get_status_display().lower()}: {first.run.error or 'by request'}"
            )
            _cancel_stages(parts)
            return pipeline
        live_stages = [part for part in parts if part.run.status != Status.DONE]
        if live_stages:
            pipeline.record(progress_done=len(parts) - len(live_stages), stage=live_stages[0].name)
            return pipeline
        _conclude(pipeline)
        return pipeline


def advance_all() -> None:
    """Advances every live pipeline; finds runs that ended without a notification because their worker died."""
    for pk in PipelineRun.objects.live().values_list("pk", flat=True):
        advance(pk)


def cancel_pipeline(pipeline: PipelineRun) -> None:
    """Fails a pipeline and cancels its live stages."""
    pipeline.fail("Stopped before it completed.")
    _cancel_stages(stages(pipeline))


def _cancel_stages(parts: list[PipelineStage]) -> None:
    for part in parts:
        part.run.cancel()


def _conclude(pipeline: PipelineRun) -> None:
    """Makes the comparison and the gate report (both are unique per pair of runs), or fails the pipeline."""
    try:
        with transaction.atomic():
            base, tuned = pipeline.base, pipeline.tuned
            comparison = get_or_create_comparison(a=base, b=tuned) if base is not None else None
            report = create_report(eval_run=tuned, baseline=default_baseline(tuned), user=pipeline.created_by)
    except (Refused, Forbidden, GateError) as error:
        pipeline.fail(f"All stages completed, but the gate report failed: {error}")
        return
    pipeline.finish(progress_done=pipeline.progress_total, comparison=comparison, gate_report=report)
