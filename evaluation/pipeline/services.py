"""The pipeline: evaluate the base model, fine-tune, evaluate the tuned model, compare, gate.

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
from evaluation.models import EvalRun, LoopRun
from evaluation.runs.services import start_evaluation
from labeling.models import DatasetVersion, Project, Split
from slmstudio.errors import Refused
from slmstudio.runs.models import BackgroundRun, Status
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel, TrainingRun
from training.runs.services import start_training


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
) -> LoopRun:
    """Queues all stages in order on the queue of the GPU worker.

    ``with_free``: also evaluate both models with unconstrained decoding.

    Raises:
        Refused: from ``start_training`` or ``start_evaluation``; nothing is queued then.
    """

    def evaluate(mode: str, model: BaseModel | TrainingRun) -> EvalRun:
        return start_evaluation(
            project=project, user=user, dataset=dataset, model=model, split=Split.HOLDOUT, mode=mode
        )

    base = evaluate(EvalRun.Mode.CONSTRAINED, base_model)
    base_free = evaluate(EvalRun.Mode.FREE, base_model) if with_free else None
    training_run = start_training(
        project=project, user=user, dataset=dataset, base_model=base_model, hyperparameters=hyperparameters, name=name
    )
    tuned = evaluate(EvalRun.Mode.CONSTRAINED, training_run)
    tuned_free = evaluate(EvalRun.Mode.FREE, training_run) if with_free else None
    return LoopRun.objects.create(
        project=project,
        dataset=dataset,
        created_by=user,
        # No job of its own: it is running from the start, without heartbeats, and the reaper skips it.
        status=Status.RUNNING,
        started_at=timezone.now(),
        stage="benchmark of the base model",
        progress_total=5 if with_free else 3,
        base=base,
        base_free=base_free,
        training_run=training_run,
        tuned=tuned,
        tuned_free=tuned_free,
    )


def stages(pipeline: LoopRun) -> list[PipelineStage]:
    """The runs of a pipeline in order."""
    rows = [
        ("benchmark of the base model", pipeline.base),
        ("benchmark of the base model, free", pipeline.base_free),
        ("fine-tuning", pipeline.training_run),
        ("evaluation of the tuned model", pipeline.tuned),
        ("evaluation of the tuned model, free", pipeline.tuned_free),
    ]
    return [PipelineStage(name, run) for name, run in rows if run is not None]


def latest_pipeline(project: Project) -> dict[str, Any] | None:
    """The context of the panel: the newest pipeline of a project with its stages; None if there is none."""
    rows = LoopRun.objects.filter(project=project).order_by("-pk")
    pipeline = rows.select_related("dataset", "training_run", "comparison", "gate_report").first()
    if pipeline is None:
        return None
    # One query for all runs: planning a join of every run with its relations takes longer than the page.
    names = ("base", "base_free", "tuned", "tuned_free")
    keys = {name: getattr(pipeline, f"{name}_id") for name in names}
    runs = EvalRun.objects.with_model().in_bulk([key for key in keys.values() if key is not None])
    for name, key in keys.items():
        if key is not None:
            setattr(pipeline, name, runs[key])
    return {"project": project, "loop": pipeline, "stages": stages(pipeline)}


def on_evaluation_ended(run: EvalRun) -> None:
    """Advances the pipelines of an evaluation that has ended with any status."""
    if run.benchmark_id is not None:
        return
    rows = LoopRun.objects.live().filter(project_id=run.project_id)
    for pk in rows.values_list("pk", flat=True):
        advance(pk)


def advance(pk: int) -> LoopRun | None:
    """Updates a pipeline from its runs: fails, records progress or concludes. Idempotent; safe to call concurrently."""
    with transaction.atomic():
        pipeline = (
            LoopRun.objects.select_for_update(of=("self",))
            .select_related("base", "base_free", "training_run", "tuned", "tuned_free")
            .filter(pk=pk)
            .first()
        )
        if pipeline is None or not pipeline.is_live:
            return pipeline
        parts = stages(pipeline)
        failed = [part for part in parts if part.run.status in (Status.FAILED, Status.CANCELLED)]
        if failed:
            first = failed[0]
            pipeline.fail(f"The {first.name} {first.run.get_status_display()}: {first.run.error or 'by request'}")
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
    for pk in LoopRun.objects.live().values_list("pk", flat=True):
        advance(pk)


def cancel_pipeline(pipeline: LoopRun) -> None:
    """Fails a pipeline and cancels its live stages."""
    pipeline.fail("Stopped before it completed.")
    _cancel_stages(stages(pipeline))


def _cancel_stages(parts: list[PipelineStage]) -> None:
    for part in parts:
        part.run.cancel()


def _conclude(pipeline: LoopRun) -> None:
    """Makes the comparison and the gate report (both are unique per pair of runs), or fails the pipeline."""
    try:
        with transaction.atomic():
            comparison = get_or_create_comparison(a=pipeline.base, b=pipeline.tuned)
            report = create_report(
                eval_run=pipeline.tuned, baseline=default_baseline(pipeline.tuned), user=pipeline.created_by
            )
    except (Refused, GateError) as error:
        pipeline.fail(f"All stages completed, but the gate report failed: {error}")
        return
    pipeline.finish(progress_done=pipeline.progress_total, comparison=comparison, gate_report=report)
