"""The hyperparameter search as a kind of study. Its trials are training runs: what happens to them moves it on.

All state is in the rows of the study and its runs, so it survives the end of any process. Optuna keeps none.
"""

import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

from django.contrib.auth.models import User
from django.db import transaction
from django.http import QueryDict
from pydantic import Field, model_validator

from labeling.datasets.queries import OF_SEARCH, dataset_warnings
from labeling.models import DatasetVersion, Project, Split, Study
from labeling.studies.kinds import Choices, StudyKind, StudySpec, no_dataset
from slmstudio import quotas
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.artifacts import local_path
from slmstudio.text.formatting import percent
from slmstudio.web.requests import positive_int
from training.base_models.services import fill_catalog
from training.estimates.services import capabilities, recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters, train_rows
from training.hyperparameters.definitions import CUDA_ONLY, PACKAGES, Hyperparameters
from training.hyperparameters.presets import with_effective_batch
from training.models import BaseModel, TrainingEvent, TrainingRun
from training.runs.checks import check_lengths, check_not_empty, check_prepared
from training.runs.forms import base_model_label, dataset_label
from training.runs.queries import dataset_by_number, newest_dataset
from training.runs.retention import delete_weights
from training.runs.services import check_hyperparameters, measure_lengths, start_training
from training.search.chart import parallel_coordinates

logger = logging.getLogger(__name__)
Method = Literal["lora", "qlora", "full"]
METHODS = {"lora": "LoRA adapter", "qlora": "QLoRA, 4-bit", "full": "Full fine-tuning"}
#: lowest and highest learning rate of full fine-tuning: around the preset as far as those of LoRA are
FULL_LEARNING_RATES = (3e-5, 9e-4)
#: rejected trials in a row after which a search fails
MAX_REJECTED = 5
MAX_TRIALS = 500
#: evaluations of a trial; the pruner compares trials after the first and the second of them
EVALUATIONS = 4


class SearchSpec(StudySpec):
    """The values to try, and the budget. Ranges include both ends."""

    dataset: int = Field(title="Dataset version")
    base_model: str = Field(title="Base model")
    method: tuple[Method, ...] = Field(("lora",), title="Methods", min_length=1)
    learning_rate_low: float = Field(1e-4, ge=1e-8, le=0.1, title="Lowest learning rate")
    learning_rate_high: float = Field(
        3e-3, ge=1e-8, le=0.1, title="Highest learning rate", description="Sampled on a logarithmic scale."
    )
    epochs_low: int = Field(1, ge=1, le=100, title="Fewest epochs")
    epochs_high: int = Field(6, ge=1, le=100, title="Most epochs")
    lora_r: tuple[int, ...] = Field(
        (8, 16, 32),
        min_length=1,
        title="LoRA ranks",
        description="1 to 512. Alpha is twice the rank. Not used by full fine-tuning.",
    )
    batch: tuple[int, ...] = Field(
        (4, 8, 16), min_length=1, title="Batch sizes", description="1 to 4,096 documents per optimizer step."
    )
    hours: float = Field(
        4,
        gt=0,
        le=10_000,
        title="Budget (hours)",
        description="Total GPU hours of all trials. They count toward the project's quota.",
    )
    trials: int = Field(
        20,
        ge=1,
        le=MAX_TRIALS,
        title="Maximum number of trials",
        description="The first trial uses the preset's values.",
    )
    parallel: int = Field(
        1, ge=1, le=32, title="Concurrent trials", description="As many as there are workers for the queue gpu."
    )
    documents: int = Field(
        50,
        ge=1,
        le=1000,
        title="Documents scored at each evaluation",
        description="Validation documents; 50 or more for a reliable choice. A trial is evaluated four times.",
    )
    seconds: int | None = Field(
        120,
        ge=1,
        title="Scoring time limit (seconds)",
        description="Documents that are not scored in time at a trial's first evaluation are excluded from that trial.",
    )
    seed: int = Field(17, ge=0, lt=2**31, title="Seed", description="Used by the sampler and by every trial.")
    keep: int = Field(
        1,
        ge=1,
        le=MAX_TRIALS,
        title="Models to keep",
        description="The models of the best trials are kept. All other weights are deleted when the search ends.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, low, high in (("learning rate", *self.learning_rate), ("number of epochs", *self.epochs)):
            if low > high:
                raise ValueError(f"The lowest {name} is above the highest.")
        for title, values, limit in (("LoRA rank", self.lora_r, 512), ("batch size", self.batch, 4096)):
            if not all(1 <= value <= limit for value in values):
                raise ValueError(f"A {title} must be 1 to {limit:,}.")
            if len(set(values)) != len(values):
                raise ValueError(f"A {title} occurs twice.")
        return self

    @property
    def learning_rate(self) -> tuple[float, float]:
        """Lowest and highest."""
        return self.learning_rate_low, self.learning_rate_high

    @property
    def epochs(self) -> tuple[int, int]:
        """Fewest and most."""
        return self.epochs_low, self.epochs_high


@dataclass
class Trial:
    """One set of hyperparameters, with the run that tries it. ``number``: of the trial; ``run``: of its training run,
    None if that was rejected; ``state``: running, complete, pruned, failed or cancelled.

    ``values``: field accuracy at each evaluation, of which the pruner has seen ``judged``; ``value``: that of the
    weights that the run kept.
    """

    number: int
    parameters: dict[str, Any]
    run: int | None = None
    state: str = "running"
    values: list[float] = field(default_factory=list)
    judged: int = 0
    value: float | None = None
    prune_requested: bool = False
    error: str = ""

    @property
    def score(self) -> float | None:
        """Field accuracy: the final one, else the newest."""
        return self.value if self.value is not None else self.values[-1] if self.values else None


Runs = dict[int, TrainingRun]


def trials_of(study: Study) -> tuple[list[Trial], Runs]:
    """The trials of a search, and their runs by number."""
    trials = [Trial(**values) for values in study.trials]
    return trials, {run.number: run for run in study.training_runs.prefetch_related("model_versions")}


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials, the highest field accuracy first; of several equal ones the first trial."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    return sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))


def best_trial(trials: Iterable[Trial]) -> Trial | None:
    """The complete trial with the highest field accuracy."""
    return next(iter(ranked(trials)), None)


def used_hours(runs: Iterable[TrainingRun]) -> float:
    """Hours that the runs of a search took so far, times their GPUs."""
    return sum((run.seconds or 0.0) * run.gpus for run in runs) / 3600


class Search(StudyKind[SearchSpec]):
    """Trials as ordinary runs, proposed and pruned by Optuna, within a budget of hours."""

    key = "search"
    title = "Hyperparameter search"
    about = (
        "Trains runs with different hyperparameters, stops weak ones early, and finds the values with the highest "
        "field accuracy on validation documents."
    )
    spec = SearchSpec
    template = "training/search/panel.html"
    styles = ("css/training.css",)
    decisive = ("dataset", "base_model")
    groups = {"method": "Values to try", "hours": "Budget"}

    def choices(self, project: Project) -> dict[str, Choices]:
        fill_catalog()
        worker = capabilities()
        unsupported = {method for method, package in PACKAGES.items() if package in worker["missing"]}
        unsupported |= set() if worker["cuda"] else set(CUDA_ONLY)
        datasets = DatasetVersion.objects.filter(project=project).order_by("-number")
        return {
            "dataset": [(dataset.number, dataset_label(dataset)) for dataset in datasets],
            "base_model": [(model.slug, base_model_label(model)) for model in BaseModel.objects.usable().by_size()],
            "method": [(method, label) for method, label in METHODS.items() if method not in unsupported],
        }

    def defaults(self, project: Project, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The newest dataset, and the recommended method with ranges around its preset."""
        dataset = dataset_by_number(project, positive_int(str(chosen.get("dataset") or ""))) or newest_dataset(project)
        base_model = BaseModel.objects.with_slug(str(chosen.get("base_model") or "")) or BaseModel.objects.default()
        if dataset is None or base_model is None:
            return {}
        return {"dataset": dataset.number, "base_model": base_model.slug, **default_space(dataset, base_model)}

    def form_context(self, project: Project, values: Mapping[str, Any]) -> dict[str, Any]:
        dataset = dataset_by_number(project, positive_int(str(values["dataset"] or "")))
        if dataset is None:
            return {} if newest_dataset(project) else no_dataset(project)
        base_model = BaseModel.objects.with_slug(str(values["base_model"] or ""))
        notes = {}
        if base_model is not None:
            method, reason = recommended_method(dataset=dataset, base_model=base_model)
            notes = {"method": reason} if values["method"] == [method] else {}
        return {"dataset_warnings": dataset_warnings(dataset, OF_SEARCH), "notes": notes}

    def after_refusal(self, project: Project, user: User, spec: SearchSpec, refusal: Refused) -> Mapping[str, str]:
        """Where only token lengths are missing, they are requested."""
        if refusal.code != "lengths_unknown":
            return refusal.errors
        dataset, base_model = _inputs(project, spec)
        try:
            measure_lengths(dataset=dataset, base_model=base_model, user=user)
        except Refused as other:
            return other.errors
        return {
            "dataset": "The token lengths of this dataset under this base model are being measured now. Start again in "
            "a minute."
        }

    def plan(self, study: Study, spec: SearchSpec) -> None:
        study.dataset, base_model = _inputs(study.project, spec)
        check_not_empty(study.dataset)
        check_prepared(base_model)
        if not study.dataset.counts.get("splits", {}).get(Split.VALIDATION):
            raise Refused(
                "A search needs validation documents: it chooses by their field accuracy. Freeze a version with some.",
                field="dataset",
            )
        for method in spec.method:
            tried = hyperparameters_of(spec, study.dataset, base_model, {"method": method})
            check_hyperparameters(tried, base_model)
            check_lengths(study.dataset, base_model, tried)
        study.progress_total = spec.trials

    def is_composed(self, spec: SearchSpec) -> bool:
        return True

    def begin(self, study: Study, spec: SearchSpec) -> None:
        """The first trial has the preset's hyperparameters."""
        if study.trials:
            return
        dataset, base_model = _inputs(study.project, spec)
        trials: list[Trial] = []
        _start_trial(study, spec, trials, {}, preset_parameters(spec, dataset, base_model))
        if trials[0].error:  # whatever is wrong with the preset is wrong with all
            raise Refused(trials[0].error, field="base_model")
        study.record(trials=[asdict(trial) for trial in trials])

    def advance(self, study: Study, spec: SearchSpec) -> None:
        """Scores, prunes, starts the next trials, or concludes."""
        trials, runs = trials_of(study)
        _read_evaluations(trials, runs)
        for trial in trials:
            _settle(trial, runs)
        _prune(spec, trials, runs)
        reason = _start_more(study, spec, trials, runs)
        live = [trial for trial in trials if trial.state == "running"]
        if reason and (study.cancel_requested or used_hours(runs.values()) >= spec.hours):
            for trial in live:
                _cancel(trial, runs)
            live = [trial for trial in trials if trial.state == "running"]
        stored = {"trials": [asdict(trial) for trial in trials], "progress_done": len(trials) - len(live)}
        if not reason or live:
            study.record(**stored, stage="stopping" if study.cancel_requested else f"{len(live)} running")
            return
        best = best_trial(trials)
        summary = f"{percent(best.value)} field accuracy" if best is not None else ""
        result = {"outcome": reason, "best": best.number if best is not None else None, "summary": summary}
        if study.cancel_requested:
            study.cancelled(**stored, result=result)
        elif best is None:
            study.fail(f"No trial completed. {reason}", **stored, result=result)
        else:
            study.finish(**stored, result=result)
        _delete_rest(study, trials, runs, keep=spec.keep)

    def panel(self, study: Study, spec: SearchSpec, query: QueryDict) -> dict[str, Any]:
        trials, runs = trials_of(study)
        best, hours = best_trial(trials), used_hours(runs.values())
        versions = [version for run in runs.values() if (version := run.model_version) is not None]
        by_score = query.get("order") == "score"
        rows = sorted(trials, key=lambda trial: trial.score or 0.0, reverse=True) if by_score else trials
        states = ("running", "complete", "pruned", "failed", "cancelled")
        return {
            "rows": [(trial, runs.get(trial.run or 0)) for trial in rows],
            "order": "score" if by_score else "",
            "best": best,
            "hours": hours,
            "hours_percent": min(100, round(100 * hours / spec.hours)),
            "counts": {state: sum(trial.state == state for trial in trials) for state in states},
            "chart": parallel_coordinates(spec, trials, best.number if best else None),
            "kept": sum(version.weights_deleted_at is None for version in versions),
            "deleted": sum(version.weights_deleted_at is not None for version in versions),
        }


SEARCH = Search()


def trial_context(run: TrainingRun) -> dict[str, Any]:
    """For the page of a run: the ``trial`` of a search that it tries."""
    if run.study is None or run.study.kind != SEARCH.key:
        return {}
    return {"trial": next((trial for trial in trials_of(run.study)[0] if trial.run == run.number), None)}


def _inputs(project: Project, spec: SearchSpec) -> tuple[DatasetVersion, BaseModel]:
    dataset = dataset_by_number(project, spec.dataset)
    if dataset is None:
        raise Refused(f"Dataset version {spec.dataset} not found in this project.", field="dataset")
    base_model = BaseModel.objects.with_slug(spec.base_model)
    if base_model is None:
        raise Refused(f"Base model {spec.base_model} not found.", field="base_model")
    return dataset, base_model


def default_space(dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    """The values to try where none are chosen: the recommended method and ranges around its preset."""
    method, _ = recommended_method(dataset=dataset, base_model=base_model)
    if method != "full" and not base_model.is_encoder:
        return {}
    preset = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
    low, high = FULL_LEARNING_RATES
    if base_model.is_encoder:
        low, high = preset.learning_rate / 4, preset.learning_rate * 4
    epochs = max(SearchSpec.model_fields["epochs_high"].default, math.ceil(preset.epochs))
    return {"method": (method,), "learning_rate_low": low, "learning_rate_high": high, "epochs_high": epochs}


def preset_parameters(spec: SearchSpec, dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    """The preset as a point of the space: each value the nearest that the space has."""
    method = spec.method[0]
    preset = default_hyperparameters(dataset=dataset, base_model=base_model, method=method)
    parameters: dict[str, Any] = {
        "method": method,
        "learning_rate": min(max(preset.learning_rate, spec.learning_rate_low), spec.learning_rate_high),
        "epochs": min(max(round(preset.epochs), spec.epochs_low), spec.epochs_high),
        "batch": min(spec.batch, key=lambda value: abs(value - preset.effective_batch)),
    }
    if method != "full":
        parameters["lora_r"] = min(spec.lora_r, key=lambda value: abs(value - preset.lora_r))
    return parameters


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
    tried = replace(
        preset,
        **values,
        seed=spec.seed,
        best_metric="field_accuracy",
        keep_best_and_last=False,
        sample_documents=spec.documents,
        sample_seconds=spec.seconds,
    )
    tried = with_effective_batch(tried, parameters.get("batch", preset.effective_batch))
    return replace(tried, eval_every=max(1, -(-tried.steps(train_rows(dataset)) // EVALUATIONS)))


# -- trials -------------------------------------------------------------------------------------------------------


def _read_evaluations(trials: list[Trial], runs: Runs) -> None:
    """The field accuracy of the evaluations of live trials."""
    live = {runs[trial.run].pk: trial for trial in trials if trial.state == "running" and trial.run in runs}
    rows = TrainingEvent.objects.filter(run__in=list(live), kind=TrainingEvent.Kind.SAMPLES)
    values: dict[Any, list[float]] = {}
    for run, value in rows.order_by("run", "step").values_list("run", "data__field_exact"):
        if value is not None:
            values.setdefault(run, []).append(float(value))
    for run, trial in live.items():
        if len(values.get(run, [])) > len(trial.values):  # fewer: a resumed run repeats its evaluations
            trial.values = values[run]


def _settle(trial: Trial, runs: Runs) -> None:
    """Gives a live trial whose run has ended its final state."""
    run = runs.get(trial.run or 0)
    if trial.state != "running" or run is None or run.status in ACTIVE:
        return
    if run.status == Status.DONE:
        trial.value = _kept_value(run)
        trial.state = "complete" if trial.value is not None else "failed"
    elif run.status == Status.CANCELLED:
        trial.state = "pruned" if trial.prune_requested else "cancelled"
    else:
        trial.state = "failed"
    trial.error = run.error or ("It was never evaluated." if trial.state == "failed" else "")


def _kept_value(run: TrainingRun) -> float | None:
    """Field accuracy of the weights that a run kept: at its best step where it has those, else at the last one."""
    rows = TrainingEvent.objects.filter(run=run, kind=TrainingEvent.Kind.SAMPLES).order_by("step")
    values = {step: value for step, value in rows.values_list("step", "data__field_exact") if value is not None}
    if not values:
        return None
    best = (run.facts or {}).get("best_step")
    return float(values[best] if best in values else list(values.values())[-1])


def _cancel(trial: Trial, runs: Runs) -> None:
    if trial.run in runs:
        runs[trial.run].cancel()
        runs[trial.run].refresh_from_db()
        _settle(trial, runs)


def _prune(spec: SearchSpec, trials: list[Trial], runs: Runs) -> None:
    """Cancels the runs of live trials that are not among the best at their newest evaluation."""
    from training.search.optimizer import prunes  # Optuna takes a second to load

    for trial in trials:
        run = runs.get(trial.run or 0)
        if trial.state != "running" or run is None or len(trial.values) <= trial.judged:
            continue
        trial.judged = len(trial.values)
        if run.progress_done < run.progress_total:  # at the last evaluation there is nothing left to save
            trial.prune_requested = prunes(spec, [other for other in trials if other is not trial], trial)
        if trial.prune_requested:
            _cancel(trial, runs)


def _start_more(study: Study, spec: SearchSpec, trials: list[Trial], runs: Runs) -> str:
    """Starts trials up to the limits; why no more are started, as a sentence."""
    from training.search.optimizer import propose  # Optuna takes a second to load

    while not (reason := _end_reason(study, spec, trials, runs)):
        if sum(trial.state == "running" for trial in trials) >= spec.parallel:
            return ""
        _start_trial(study, spec, trials, runs, propose(spec, trials))
    return reason


def _end_reason(study: Study, spec: SearchSpec, trials: list[Trial], runs: Runs) -> str:
    if study.cancel_requested:
        return "Cancelled by a user."
    if study.created_by is None:
        return "The account of the user who started it was deleted."
    if used_hours(runs.values()) >= spec.hours:
        return f"The budget of {spec.hours:g} hours is used up."
    if len(trials) >= spec.trials:
        return f"All {spec.trials:,} trials have ended."
    rejected = trials[-MAX_REJECTED:]
    if len(rejected) == MAX_REJECTED and all(trial.run is None for trial in rejected):
        return rejected[-1].error
    return quotas.compute_problem(study.project)


def _start_trial(study: Study, spec: SearchSpec, trials: list[Trial], runs: Runs, parameters: dict[str, Any]) -> None:
    """The next trial with its run; one whose run is rejected has failed, with the reason."""
    trial = Trial(len(trials) + 1, parameters)
    trials.append(trial)
    dataset, base_model = _inputs(study.project, spec)
    assert study.created_by is not None
    try:
        with transaction.atomic():
            run = start_training(
                project=study.project,
                user=study.created_by,
                dataset=dataset,
                base_model=base_model,
                hyperparameters=hyperparameters_of(spec, dataset, base_model, parameters),
                name=f"search {study.number}, trial {trial.number}",
            )
            run.study, run.tags = study, [f"search {study.number}"]
            run.save(update_fields=["study", "tags"])
    except (Refused, Forbidden) as refusal:
        trial.state, trial.error = "failed", str(refusal)
    else:
        trial.run, runs[run.number] = run.number, run


def _delete_rest(study: Study, trials: list[Trial], runs: Runs, *, keep: int) -> None:
    """Deletes the weights of complete trials but the best ``keep``, and the checkpoints of pruned ones.

    Weights that something needs stay. Metrics, samples and logs stay in each case.
    """
    for trial in ranked(trials)[keep:]:
        for version in runs[trial.run or 0].model_versions.all():
            try:
                delete_weights(version=version, user=None, reason=f"search {study.number}, trial {trial.number}")
            except Refused as refusal:
                logger.info("trial %s of search %s: %s", trial.number, study.pk, refusal.message)
    for trial in trials:
        if trial.state == "pruned" and trial.run in runs:
            _delete_checkpoints(runs[trial.run])


def _delete_checkpoints(run: TrainingRun) -> None:
    """Deletes the checkpoints of a cancelled run, unless it was resumed."""
    rows = TrainingRun.objects.filter(pk=run.pk, status=Status.CANCELLED)
    if rows.update(checkpoint_step=0):
        folder = local_path(f"{run.folder_key}/state")
        transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True), robust=True)
