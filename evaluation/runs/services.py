"""Eval runs: starting, cancelling, finding the lost ones, and ending."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max

from evaluation.audit import services as audit_services
from evaluation.gates.holdout import permits
from evaluation.models import Benchmark, Endpoint, EvalOutput, EvalRun, PrelabelRun
from evaluation.runs import run_documents
from evaluation.runs.spec import MOST_AT_ONCE
from labeling.models import DatasetVersion, Project, SchemaVersion, Split
from slmstudio import quotas
from slmstudio.contract.decoding.grounding import candidates
from slmstudio.errors import Refused
from slmstudio.runs.models import Status, resumed_by
from training.models import BaseModel, ModelExport, TrainingRun

__all__ = [
    "asked_otherwise",
    "cancel",
    "differences",
    "facts_of",
    "go_on",
    "modes_of",
    "next_number",
    "start_evaluation",
    "wait_for_training",
]

#: facts in which all answers of an evaluation over an endpoint agree; prices and how many are asked at once may change
_IN_COMMON = {
    "url": "address",
    "model": "model",
    "max_new_tokens": "limit of tokens",
    "reasoning_effort": "reasoning effort",
    "examples": "number of solved examples",
}


def next_number(model: Any, project: Project) -> int:
    """The next number of a kind of row in a project. Only inside a transaction: it locks the project's row."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = model.objects.filter(project=project).aggregate(newest=Max("number"))["newest"]
    return int(newest or 0) + 1


@transaction.atomic
def start_evaluation(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    split: str = Split.VALIDATION,
    mode: str = EvalRun.Mode.CONSTRAINED,
    base_model: BaseModel | None = None,
    training_run: TrainingRun | None = None,
    endpoint: Endpoint | None = None,
    export: ModelExport | None = None,
    benchmark: Benchmark | None = None,
    at_once: int = 1,
) -> EvalRun:
    """Queues an evaluation of a base model, of what a training run made or is going to make, or of an endpoint.

    With an ``export`` llama.cpp answers with that GGUF file of the training run. With a ``benchmark`` its documents are
    asked about in place of a split, and a base model that is not prepared yet is prepared by the job. Hold-out
    documents are sent to an endpoint only where the owner permits it. ``at_once`` documents are asked about together;
    one at a time gives the latency. The hold-out is a deliberate choice, because evaluations of it are counted.

    Raises:
        Refused: ``field`` is one of model, dataset, split, mode, at_once. Nothing is queued then.
    """
    if export is not None and training_run is None:
        training_run = export.model_version.training_run
    _check_subject(project, base_model, training_run, endpoint, benchmark)
    if export is not None:
        _check_export(export, training_run)
    if dataset.project_id != project.pk:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if why := quotas.compute_problem(project):
        raise Refused(why, field="model")
    if benchmark is not None:
        split = EvalRun.BENCHMARK
    elif split not in Split.values:
        raise Refused(f"A split is one of {', '.join(Split.values)}.", field="split")
    if mode not in EvalRun.Mode.values:
        raise Refused(f"A mode is one of {', '.join(EvalRun.Mode.values)}.", field="mode")
    if not 1 <= at_once <= MOST_AT_ONCE:
        raise Refused(f"Between 1 and {MOST_AT_ONCE} documents can be asked about at once.", field="at_once")
    if mode == EvalRun.Mode.GROUNDED and not candidates(dataset.schema_version.compiled):
        raise Refused("No field of the schema is copied from the document (evidence: required).", field="mode")
    if endpoint is not None:
        _check_endpoint(endpoint, split, mode, at_once)
    if benchmark is None and not dataset.items.filter(split=split).exists():
        label = Split(split).label
        raise Refused(
            f"The {label} split of {dataset} is empty. Choose another, or freeze a new version.", field="split"
        )
    run = EvalRun(
        project=project,
        number=next_number(EvalRun, project),
        dataset=dataset,
        split=split,
        mode=mode,
        base_model=base_model,
        training_run=training_run,
        endpoint=endpoint,
        export=export,
        at_once=at_once,
        benchmark=benchmark,
        created_by=user,
    )
    run.progress_total = run_documents.count(run)
    run.full_clean()
    run.save()
    audit_services.record(
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
        raise Refused("Choose one model: a base model or a training run.", field="model")
    if base_model is not None and not base_model.ready and benchmark is None:
        raise Refused(f"{base_model} is not prepared yet, so there is nothing to evaluate.", field="model")
    if endpoint is not None and endpoint.project_id != project.pk:
        raise Refused("That endpoint belongs to another project.", field="model")
    if training_run is None:
        return
    if training_run.project_id != project.pk:
        raise Refused("That training run belongs to another project.", field="model")
    if training_run.status in (Status.FAILED, Status.CANCELLED):
        raise Refused(
            f"{training_run} {training_run.get_status_display()} and left no model to evaluate.", field="model"
        )


def _check_export(export: ModelExport, training_run: TrainingRun | None) -> None:
    if training_run is None or export.model_version.training_run_id != training_run.pk:
        raise Refused(f"{export} was not made of what is to be evaluated.", field="model")
    if export.status != Status.DONE:
        raise Refused(f"{export} is not made yet. Export it on the page of the training run first.", field="model")


def _check_endpoint(endpoint: Endpoint, split: str, mode: str, at_once: int) -> None:
    if endpoint.retired_at is not None:
        raise Refused(f"The endpoint {endpoint} was removed.", field="model")
    if mode == EvalRun.Mode.GROUNDED:
        raise Refused(f"{endpoint} is a model elsewhere: it cannot be held to the text of each document.", field="mode")
    if mode == EvalRun.Mode.CONSTRAINED and endpoint.structured == Endpoint.Structured.FREE:
        raise Refused(f"The endpoint {endpoint} is asked in words alone: it cannot be held to a schema.", field="mode")
    if at_once > endpoint.at_once:
        raise Refused(f"The endpoint {endpoint} works on at most {endpoint.at_once} side by side.", field="at_once")
    if split == Split.HOLDOUT and permits.of(endpoint) is None:
        raise Refused(
            f"Hold-out documents would leave the studio for {endpoint}. The owner of the project has to permit that "
            "on the page of the endpoint; or choose another split.",
            field="split",
        )


def modes_of(schema: SchemaVersion | None) -> list[tuple[str, str]]:
    """The ways of decoding that a schema allows, with their words; held to documents only where a field is copied."""
    copied = schema is not None and bool(candidates(schema.compiled))
    return [(mode, words) for mode, words in EvalRun.Mode.choices if copied or mode != EvalRun.Mode.GROUNDED]


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


def cancel(*, run: EvalRun, user: User | None) -> bool:
    """Cancels a queued run at once and asks a running one to stop. False where it had ended already."""
    if not run.cancel():
        return False
    audit_services.record(project=run.project, user=user, action="cancelled", about=f"evaluation {run.number}")
    if not run.is_live:
        tell_loop(run)
    return True


@transaction.atomic
def go_on(*, run: EvalRun, user: User) -> None:
    """Queues an evaluation over an endpoint that failed once more. Answers are kept and not paid for twice; documents
    that could not be reached are asked about again. An endpoint that is another model by now is refused where it has
    answered something: answers of two models are not one evaluation's, and those of the first were paid for.

    Raises:
        Refused: it cannot go on; nothing is queued then, and nothing is lost.
    """
    rows: Any = EvalRun.objects.select_for_update(of=("self",))
    locked: EvalRun = rows.select_related("endpoint", "project").get(pk=run.pk)
    if not locked.can_go_on or locked.endpoint is None:
        raise Refused(f"Evaluation {locked.number} cannot go on. Start it again.", field="run")
    if why := quotas.compute_problem(locked.project):
        raise Refused(why, field="run")
    _check_endpoint(locked.endpoint, locked.split, locked.mode, min(locked.at_once, locked.endpoint.at_once))
    one = locked.endpoint
    other = asked_otherwise(locked, facts_of(one))
    if other and EvalOutput.objects.filter(eval_run=locked).exclude(finish_reason="error").exists():
        raise Refused(other, field="run")
    # What it took to fail does not count against it.
    locked.facts = {
        **resumed_by(locked.facts, user),
        "go_on": True,
        "forgiven": int(locked.facts.get("attempts") or 0),
    }
    locked.save(update_fields=["facts"])
    locked.requeue_by(locked.created_by)
    audit_services.record(project=locked.project, user=user, action="went on with", about=f"evaluation {locked.number}")


def facts_of(endpoint: Endpoint) -> dict[str, Any]:
    """The facts of how an endpoint is asked now, by the names that an evaluation keeps them under."""
    return {
        "url": endpoint.url,
        "model": endpoint.model,
        "max_new_tokens": endpoint.max_tokens,
        "reasoning_effort": endpoint.reasoning_effort or None,
    }


def differences(run: EvalRun, now: Mapping[str, Any]) -> str:
    """What an endpoint has another of than when it answered an evaluation: "address and another model"; "" for
    nothing. ``now`` as in ``asked_otherwise``."""
    others = [word for name, word in _IN_COMMON.items() if name in now and run.facts.get(name) != now[name]]
    return " and another ".join(others)


def asked_otherwise(run: EvalRun, now: Mapping[str, Any]) -> str:
    """Why what an endpoint answered before cannot be kept, where it would be asked as ``now`` says: a sentence. ""
    where it can. ``now`` has the facts that are known yet, by name; those that may change are passed over.
    """
    others = differences(run, now)
    if not others:
        return ""
    return (
        f"The endpoint {run.endpoint} has another {others} than when it answered, and the two "
        "are not mixed in one evaluation. Change it back to go on, or start again. What was answered is kept here."
    )


def file_keys(project: Project) -> Iterator[str]:
    """Keys of the folders of a project's evaluations and pre-labels in the artifact store."""
    tables: tuple[Any, ...] = (EvalRun, PrelabelRun)
    for table in tables:
        for run in table.objects.filter(project=project).only("pk"):
            yield run.folder_key


def tell_loop(run: EvalRun) -> None:
    """Tells what the run belongs to that it has ended: a benchmark, or perhaps a loop. Both build on this module, hence
    the imports.
    """
    from evaluation.benchmarks import services as benchmark_services
    from evaluation.pipeline import services as pipeline_services

    if run.benchmark_id is not None:
        benchmark_services.advance(run.benchmark_id)
    else:
        pipeline_services.eval_ended(run)
