"""Eval runs: starting, cancelling, finding the lost ones, and ending."""

from typing import Any

from django.db import transaction
from django.db.models import Max

from evaluation.models import Benchmark, Endpoint, EvalRun
from evaluation.services import audit, judged
from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs import Status
from training.models import BaseModel, TrainingRun
from training.services.runs import Refused

__all__ = ["Refused", "cancel", "next_number", "start_evaluation", "wait_for_training"]


def next_number(model: Any, project: Project) -> int:
    """The next number of a kind of row in a project. Only inside a transaction: it locks the project's row."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = model.objects.filter(project=project).aggregate(newest=Max("number"))["newest"]
    return int(newest or 0) + 1


@transaction.atomic
def start_evaluation(
    *,
    project: Project,
    user: Any,
    dataset: DatasetVersion,
    split: str = Split.HOLDOUT,
    mode: str = EvalRun.Mode.CONSTRAINED,
    base_model: BaseModel | None = None,
    training_run: TrainingRun | None = None,
    endpoint: Endpoint | None = None,
    benchmark: Benchmark | None = None,
) -> EvalRun:
    """Queues an evaluation of a base model, of what a training run made or is going to make, or of an endpoint.

    With a ``benchmark`` its documents are asked about in place of a split, and a base model that is not prepared yet is
    prepared by the job. An endpoint is evaluated in a benchmark alone: hold-out documents never leave the studio.

    Raises:
        Refused: ``field`` is one of model, dataset, split, mode. Nothing is queued then.
    """
    _check_subject(project, base_model, training_run, endpoint, benchmark)
    if dataset.project_id != project.pk:
        raise Refused("dataset", "That dataset version belongs to another project.")
    if benchmark is not None:
        split = EvalRun.BENCHMARK
    elif split not in Split.values:
        raise Refused("split", f"A split is one of {', '.join(Split.values)}.")
    if mode not in EvalRun.Mode.values:
        raise Refused("mode", f"A mode is one of {', '.join(EvalRun.Mode.values)}.")
    if benchmark is None and not dataset.items.filter(split=split).exists():
        label = Split(split).label
        raise Refused("split", f"The {label} split of {dataset} is empty. Choose another, or freeze a new version.")
    run = EvalRun(
        project=project,
        number=next_number(EvalRun, project),
        dataset=dataset,
        split=split,
        mode=mode,
        base_model=base_model,
        training_run=training_run,
        endpoint=endpoint,
        benchmark=benchmark,
        created_by=user,
    )
    run.progress_total = judged.count(run)
    run.full_clean()
    run.save()
    audit.record(
        project=project,
        user=user,
        action="started",
        about=f"evaluation {run.number}",
        details={"model": run.subject, "dataset": dataset.sha256, "split": str(split), "mode": str(mode)},
    )
    run.enqueue()
    return run


def _check_subject(
    project: Project,
    base_model: BaseModel | None,
    training_run: TrainingRun | None,
    endpoint: Endpoint | None,
    benchmark: Benchmark | None,
) -> None:
    if sum(one is not None for one in (base_model, training_run, endpoint)) != 1:
        raise Refused("model", "Choose one model: a base model or a training run.")
    if base_model is not None and not base_model.ready and benchmark is None:
        raise Refused("model", f"{base_model} is not prepared yet, so there is nothing to evaluate.")
    if endpoint is not None and benchmark is None:
        raise Refused("model", f"{endpoint} is a model elsewhere: it is evaluated in a benchmark alone.")
    if endpoint is not None and endpoint.project_id != project.pk:
        raise Refused("model", "That endpoint belongs to another project.")
    if training_run is None:
        return
    if training_run.project_id != project.pk:
        raise Refused("model", "That training run belongs to another project.")
    if training_run.status in (Status.FAILED, Status.CANCELLED):
        raise Refused("model", f"{training_run} {training_run.get_status_display()} and left no model to evaluate.")


def wait_for_training(run: EvalRun) -> bool:
    """True where the run's training has not ended yet: the run stays queued, behind what waits already.

    One worker never gets here, because the training is ahead of the evaluation on the same queue; with several, the
    evaluation steps back until the training has ended.
    """
    training = run.training_run
    if training is None or run.status != Status.QUEUED:
        return False
    training.refresh_from_db(fields=["status"])
    return training.is_live


def cancel(*, run: EvalRun, user: Any) -> bool:
    """Cancels a queued run at once and asks a running one to stop. False where it had ended already."""
    if not run.cancel():
        return False
    audit.record(project=run.project, user=user, action="cancelled", about=f"evaluation {run.number}")
    if not run.is_live:
        tell_loop(run)
    return True


def tell_loop(run: EvalRun) -> None:
    """Tells what the run belongs to that it has ended: a benchmark, or perhaps a loop. Both build on this module, hence
    the imports.
    """
    from evaluation.services import benchmarks, loop

    if run.benchmark_id is not None:
        benchmarks.advance(run.benchmark_id)
    else:
        loop.eval_ended(run)
