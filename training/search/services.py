"""Start, advance and stop searches. A search consists of runs: what happens to them moves it on.

All state is in the rows of the search, its trials and their runs, so it survives the end of any process. Whatever ends
a run, or stores its evaluation, calls ``advance``; the reaper does so too, for what was missed. Each call is idempotent
and holds the lock of the search's row.
"""

import logging
import math
from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.models import DatasetVersion, Project, Split
from slmstudio import quotas
from slmstudio.access import Action, Forbidden, require
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from training.estimates.advice import recommended_method
from training.hyperparameters.defaults import default_hyperparameters, train_rows
from training.hyperparameters.presets import with_effective_batch
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel, Search, TrainingEvent, TrainingRun, Trial
from training.runs.checks import check_lengths, check_not_empty, check_prepared
from training.runs.queries import dataset_by_number
from training.runs.services import MAX_NAME_LENGTH, check_hyperparameters, start_training
from training.search.retention import delete_rest, ranked
from training.search.spec import EVALUATIONS, SearchSpace, SearchSpec
from training.strict_yaml import SpecError

logger = logging.getLogger(__name__)
#: lowest and highest learning rate of full fine-tuning: around the preset as far as those of LoRA are
FULL_LEARNING_RATES = (3e-5, 9e-4)
#: rejected trials in a row after which a search fails
MAX_REJECTED = 5


@transaction.atomic
def start_search(*, project: Project, user: User, spec: SearchSpec, name: str = "") -> Search:
    """Creates a search and starts its first trials. The first one has the preset's hyperparameters.

    Raises:
        Refused: an unknown dataset or base model, token lengths that are not measured, no validation documents, a
            setting that no worker supports, or a quota that is used up.
    """
    require(project, user, Action.RUN)
    if len(name) > MAX_NAME_LENGTH:
        raise Refused(f"A name can have at most {MAX_NAME_LENGTH} characters.", field="name")
    dataset, base_model = inputs_of(project, spec)
    check_not_empty(dataset)
    check_prepared(base_model)
    if not dataset.counts.get("splits", {}).get(Split.VALIDATION):
        raise Refused(
            "A search needs validation documents: it chooses by their field accuracy. Freeze a version with some.",
            field="dataset",
        )
    if problem := quotas.compute_problem(project):
        raise Refused(problem, field="hours", code="quota")
    search: Search = Search.objects.create(
        project=project,
        number=project.next_number(Search),
        name=name.strip(),
        dataset=dataset,
        base_model=base_model,
        spec=spec.to_yaml(),
        created_by=user,
        # No job of its own: it is running from the start, without heartbeats, and the reaper skips it.
        status=Status.RUNNING,
        started_at=timezone.now(),
        progress_total=spec.trials,
    )
    for method in spec.space.method:
        tried = hyperparameters_of(spec, dataset, base_model, {"method": method})
        check_hyperparameters(tried, base_model)
        check_lengths(dataset, base_model, tried)
    first = _start_trial(search, spec, preset_parameters(spec, dataset, base_model))
    if first.error:  # whatever is wrong with the preset is wrong with all
        raise Refused(first.error, field="base_model")
    advance(search.pk)
    search.refresh_from_db()
    return search


def inputs_of(project: Project, spec: SearchSpec) -> tuple[DatasetVersion, BaseModel]:
    """The dataset version and the base model that a spec names. Raises Refused where one does not exist."""
    dataset = dataset_by_number(project, spec.dataset)
    if dataset is None:
        raise Refused(f"Dataset version {spec.dataset} not found in this project.", field="dataset")
    base_model = BaseModel.objects.with_slug(spec.base_model)
    if base_model is None:
        raise Refused(f"Base model {spec.base_model} not found.", field="base_model")
    return dataset, base_model


def spec_of(search: Search) -> SearchSpec:
    """The spec of a search."""
    return SearchSpec.from_yaml(search.spec)


def read_spec(text: str) -> SearchSpec:
    """A SearchSpec in YAML.

    Raises:
        Refused: by key of the file.
    """
    try:
        return SearchSpec.from_yaml(text)
    except SpecError as error:
        raise Refused(str(error), field=error.field or "spec") from error


def default_space(dataset: DatasetVersion, base_model: BaseModel) -> SearchSpace:
    """The values to try where none are chosen: the recommended method and ranges around its preset."""
    method = recommended_method(dataset=dataset, base_model=base_model)
    if method != "full":
        return SearchSpace()
    preset = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
    usual = SearchSpace()
    epochs = (usual.epochs[0], max(usual.epochs[1], math.ceil(preset.epochs)))
    return replace(usual, method=("full",), learning_rate=FULL_LEARNING_RATES, epochs=epochs)


def preset_parameters(spec: SearchSpec, dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    """The preset as a point of the space: each value the nearest that the space has."""
    space = spec.space
    method = space.method[0]
    preset = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
    found: dict[str, Any] = {
        "method": method,
        "learning_rate": min(max(preset.learning_rate, space.learning_rate[0]), space.learning_rate[1]),
        "epochs": min(max(round(preset.epochs), space.epochs[0]), space.epochs[1]),
        "batch": min(space.batch, key=lambda value: abs(value - preset.effective_batch)),
    }
    if method != "full":
        found["lora_r"] = min(space.lora_r, key=lambda value: abs(value - preset.lora_r))
    return found


def hyperparameters_of(
    spec: SearchSpec, dataset: DatasetVersion, base_model: BaseModel, parameters: dict[str, Any]
) -> Hyperparameters:
    """The hyperparameters of a trial: the preset of its method, with its parameters and evenly spaced evaluations."""
    values: dict[str, Any] = {
        name: parameters[name] for name in ("learning_rate", "epochs", "lora_r") if name in parameters
    }
    preset = default_hyperparameters(dataset=dataset, base_model=base_model, method=parameters["method"])
    if "lora_r" in values:
        values["lora_alpha"] = 2 * values["lora_r"]
    found = replace(
        preset,
        **values,
        seed=spec.seed,
        best_metric="field_accuracy",
        keep_best_and_last=False,
        sample_documents=spec.documents,
        sample_seconds=spec.seconds,
    )
    found = with_effective_batch(found, parameters.get("batch", preset.effective_batch))
    return replace(found, eval_every=max(1, -(-found.steps(train_rows(dataset)) // EVALUATIONS)))


def used_hours(search: Search, trials: list[Trial]) -> float:
    """Hours that the runs of a search took so far, times their GPUs."""
    return sum((trial.run.seconds or 0.0) * trial.run.gpus for trial in trials if trial.run is not None) / 3600


def advance(pk: int) -> Search | None:
    """Brings a search up to date with its runs: scores, prunes, starts the next trials, or concludes."""
    with transaction.atomic():
        search = Search.objects.select_for_update(of=("self",)).filter(pk=pk).first()
        if search is None or not search.is_live:
            return search
        spec = spec_of(search)
        trials = list(search.trials.select_related("run").order_by("number"))
        _read_evaluations(trials)
        for trial in trials:
            _settle(trial)
        _prune(spec, trials)
        _go_on(search, spec, trials)
        return search


def advance_all() -> None:
    """Advances every live search; finds what was missed because a process died."""
    for pk in Search.objects.live().values_list("pk", flat=True):
        try:
            advance(pk)
        except Exception:  # one search must not stop the others, nor the reaper
            logger.exception("search %s could not be advanced", pk)


def on_run_changed(run: TrainingRun) -> None:
    """A run has ended or was evaluated: its search is advanced after the transaction, which must not fail for it."""
    pk = Trial.objects.filter(run=run).values_list("search_id", flat=True).first()
    if pk is not None:
        transaction.on_commit(lambda: advance(pk), robust=True)


@transaction.atomic
def stop(*, search: Search, user: User | None) -> bool:
    """Stops a search: its live runs are cancelled, and the best trial so far is kept. False where it had ended."""
    require(search.project, user, Action.RUN)
    locked: Search = Search.objects.select_for_update(of=("self",)).get(pk=search.pk)
    if not locked.is_live:
        return False
    locked.record(cancel_requested=True, stage="stopping")
    advance(search.pk)
    search.refresh_from_db()
    return True


def _read_evaluations(trials: list[Trial]) -> None:
    """Stores the field accuracy of the evaluations of live trials."""
    live = {trial.run_id: trial for trial in trials if trial.state == Trial.State.RUNNING}
    rows = TrainingEvent.objects.filter(run__in=[key for key in live if key], kind=TrainingEvent.Kind.SAMPLES)
    values: dict[Any, list[float]] = {}
    for run, value in rows.order_by("run", "step").values_list("run", "data__field_exact"):
        if value is not None:
            values.setdefault(run, []).append(float(value))
    for key, trial in live.items():
        found = values.get(key, [])
        if len(found) > len(trial.values):  # fewer: a resumed run repeats its evaluations
            trial.values = found
            trial.save(update_fields=["values"])


def _settle(trial: Trial) -> None:
    """Gives a live trial whose run has ended its final state."""
    run = trial.run
    if trial.state != Trial.State.RUNNING or run is None or run.status in ACTIVE:
        return
    state = {Status.FAILED: Trial.State.FAILED, Status.CANCELLED: Trial.State.CANCELLED}.get(Status(run.status))
    if run.status == Status.CANCELLED and trial.prune_requested:
        state = Trial.State.PRUNED
    if run.status == Status.DONE:
        trial.value = _kept_value(run)
        state = Trial.State.COMPLETE if trial.value is not None else Trial.State.FAILED
    trial.state = state or Trial.State.FAILED
    trial.error = run.error or ("" if trial.state != Trial.State.FAILED else "It was never evaluated.")
    trial.save(update_fields=["state", "value", "error"])


def _kept_value(run: TrainingRun) -> float | None:
    """Field accuracy of the weights that a run kept: at its best step where it has those, else at the last one."""
    rows = TrainingEvent.objects.filter(run=run, kind=TrainingEvent.Kind.SAMPLES).order_by("step")
    values = {step: value for step, value in rows.values_list("step", "data__field_exact") if value is not None}
    if not values:
        return None
    best = (run.facts or {}).get("best_step")
    return float(values[best] if best in values else list(values.values())[-1])


def past_of(trials: list[Trial]) -> list[Any]:
    """The trials as the optimizer sees them."""
    from training.search.optimizer import PastTrial

    return [PastTrial(one.state, one.parameters, one.value, one.values) for one in trials]


def _prune(spec: SearchSpec, trials: list[Trial]) -> None:
    """Cancels the runs of live trials that are not among the best at their newest evaluation."""
    from training.search.optimizer import prunes

    for trial in trials:
        run = trial.run
        if trial.state != Trial.State.RUNNING or run is None or len(trial.values) <= trial.judged:
            continue
        trial.judged = len(trial.values)
        # At the last evaluation there is nothing left to save.
        if run.progress_done < run.progress_total:
            others = past_of([other for other in trials if other is not trial])
            trial.prune_requested = prunes(spec.space, others, past_of([trial])[0])
        trial.save(update_fields=["judged", "prune_requested"])
        if trial.prune_requested:
            run.cancel()
            run.refresh_from_db()
            _settle(trial)


def _go_on(search: Search, spec: SearchSpec, trials: list[Trial]) -> None:
    """Starts trials up to the limits, or concludes."""
    hours = used_hours(search, trials)
    reason = _end_reason(search, spec, trials, hours)
    live = [trial for trial in trials if trial.state == Trial.State.RUNNING]
    while not reason and len(live) < spec.parallel:
        trial = _start_trial(search, spec, _next_parameters(spec, trials))
        trials.append(trial)
        if trial.state == Trial.State.RUNNING:
            live.append(trial)
        reason = _end_reason(search, spec, trials, hours)
    if reason and (search.cancel_requested or hours >= spec.hours):
        for trial in live:
            if trial.run is not None:
                trial.run.cancel()
                trial.run.refresh_from_db()
                _settle(trial)
        live = [trial for trial in live if trial.state == Trial.State.RUNNING]
    ended = len(trials) - len(live)
    if reason and not live:
        _conclude(search, trials, reason, ended)
        delete_rest(search, trials, keep=spec.keep)
    else:
        stage = "stopping" if search.cancel_requested else f"{len(live)} running"
        search.record(progress_done=ended, stage=stage)


def _end_reason(search: Search, spec: SearchSpec, trials: list[Trial], hours: float) -> str:
    """Why no more trials are started, as a sentence; empty while more are."""
    if search.cancel_requested:
        return "Cancelled by a user."
    if search.created_by is None:
        return "The account of the user who started it was deleted."
    if hours >= spec.hours:
        return f"The budget of {spec.hours:g} hours is used up."
    if len(trials) >= spec.trials:
        return f"All {spec.trials:,} trials have ended."
    rejected = trials[-MAX_REJECTED:]
    if len(rejected) == MAX_REJECTED and all(trial.run is None for trial in rejected):
        return rejected[-1].error
    return quotas.compute_problem(search.project)


def _next_parameters(spec: SearchSpec, trials: list[Trial]) -> dict[str, Any]:
    from training.search.optimizer import propose

    return propose(spec.space, past_of(trials), seed=spec.seed, trials=spec.trials)


def _start_trial(search: Search, spec: SearchSpec, parameters: dict[str, Any]) -> Trial:
    """The next trial with its run; one whose run is rejected has failed, with the reason."""
    number = search.trials.count() + 1
    trial = Trial(search=search, number=number, parameters=parameters)
    user = search.created_by
    assert user is not None
    try:
        with transaction.atomic():
            trial.run = start_training(
                project=search.project,
                user=user,
                dataset=search.dataset,
                base_model=search.base_model,
                hyperparameters=hyperparameters_of(spec, search.dataset, search.base_model, parameters),
                name=f"search {search.number}, trial {number}",
            )
            TrainingRun.objects.filter(pk=trial.run.pk).update(tags=[f"search {search.number}"])
    except (Refused, Forbidden) as refusal:
        trial.run, trial.state, trial.error = None, Trial.State.FAILED, str(refusal)
    trial.save()
    return trial


def _conclude(search: Search, trials: list[Trial], reason: str, ended: int) -> None:
    best = best_trial(trials)
    changes: dict[str, Any] = {"progress_done": ended, "outcome": reason}
    if search.cancel_requested:
        search.cancelled(**changes)
    elif best is None:
        search.fail(f"No trial completed. {reason}", **changes)
    else:
        search.finish(**changes)


def best_trial(trials: list[Trial]) -> Trial | None:
    """The complete trial with the highest field accuracy; of several the first."""
    return next(iter(ranked(trials)), None)
