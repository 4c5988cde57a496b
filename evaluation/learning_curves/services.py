"""Learning curves: started, measured, cancelled."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import EvalRun, LearningCurve, LearningPoint
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from labeling.datasets.freeze_candidates import class_fields
from labeling.form.merge import MISSING, value_at
from labeling.models import DatasetVersion, Project, Split
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.hashing import sha256_text
from slmstudio.text.classifier import TextClassifier, TextVectors
from training.estimates.advice import recommended_method
from training.estimates.services import estimate_for
from training.hyperparameters.defaults import default_hyperparameters, train_rows
from training.hyperparameters.presets import preset, task_of
from training.hyperparameters.values import Hyperparameters
from training.models import BaseModel
from training.runs.services import start_training

SHARES = (0.12, 0.25, 0.5, 1.0)
MAX_SEEDS = 5
#: documents that a curve needs for training and for validation
MIN_TRAIN, MIN_VALIDATION = 40, 20
#: validation documents to ask a freeze for: it draws each by chance, so fewer of them can come out
_DRAWN = 28
#: code of a dataset version that is too small
FEW_DOCUMENTS = "few_documents"
#: all fields together, next to the single ones
ALL_FIELDS = ""
_FIRST_SEED = 17


@transaction.atomic
def start_learning_curve(
    *,
    project: Project,
    user: User,
    dataset: DatasetVersion,
    base_model: BaseModel | None = None,
    seeds: int = 3,
    max_hours: float | None = None,
) -> LearningCurve:
    """Starts a curve over ``SHARES`` of the training split, each share below 1 with ``seeds`` subsets.

    Without a ``base_model``, a classifier is trained, in seconds. A base model is fine-tuned once for each point with
    the preset for its size; ``max_hours`` is the budget of all runs together.

    Raises:
        Refused: ``field`` is dataset, model, seeds, max_hours; too few documents, nothing to classify, over the budget,
            or what a training run refuses.
    """
    require(project, user, Action.RUN)
    _check(project, dataset, base_model, seeds)
    curve: LearningCurve = LearningCurve(
        project=project,
        number=project.next_number(LearningCurve),
        dataset=dataset,
        base_model=base_model,
        shares=list(SHARES),
        seeds=seeds,
        max_hours=max_hours,
        created_by=user,
    )
    total = train_rows(dataset)
    plan = [(share, _FIRST_SEED + at) for share in SHARES for at in range(seeds if share < 1 else 1)]
    curve.progress_total = len(plan)
    if base_model is not None:  # it has no job of its own
        curve.status, curve.started_at = Status.RUNNING, timezone.now()
    curve.save()
    points = [LearningPoint(curve=curve, share=s, seed=seed, labels=max(1, round(s * total))) for s, seed in plan]
    if base_model is None:
        LearningPoint.objects.bulk_create(points)
        curve.enqueue()
    else:
        _start_runs(curve, points, base_model, user, max_hours)
    details = {"model": curve.model_label, "dataset": dataset.number, "points": len(points)}
    audit_services.record(project=project, user=user, action="started", about=str(curve), details=details)
    return curve


def _check(project: Project, dataset: DatasetVersion, base_model: BaseModel | None, seeds: int) -> None:
    if dataset.project_id != project.pk:
        raise Refused("That dataset version belongs to another project.", field="dataset")
    if not 1 <= seeds <= MAX_SEEDS:
        raise Refused(f"Choose 1 to {MAX_SEEDS} subsets.", field="seeds")
    splits = dataset.counts.get("splits", {})
    train, validation = splits.get(Split.TRAIN, 0), splits.get(Split.VALIDATION, 0)
    if train < MIN_TRAIN or validation < MIN_VALIDATION:
        more = MIN_TRAIN + _DRAWN - train - validation
        first = f"Label {more:,} more documents, then freeze" if more > 0 else "Freeze"
        raise Refused(
            f"A learning curve needs {MIN_TRAIN} training and {MIN_VALIDATION} validation documents; {dataset} has "
            f"{train} and {validation}. {first} a version with {validation_share(train + validation)}% validation.",
            field="dataset",
            code=FEW_DOCUMENTS,
        )
    if base_model is None and not class_fields(dataset.schema_version.compiled):
        raise Refused("The schema has no field with fixed values to classify. Choose a base model.", field="model")


def validation_share(documents: int) -> int:
    """The share of ``documents`` outside the hold-out, in percent, that a version for a learning curve needs."""
    return math.ceil(100 * _DRAWN / max(documents, MIN_TRAIN + _DRAWN))


# -- the classifier -----------------------------------------------------------------------------------------------


def measure_classifier(curve: LearningCurve) -> None:
    """Trains and measures the classifier of each point that is not measured yet; the run ends."""
    rows = {split: list(dataset_queries.rows(curve.dataset, split)) for split in (Split.TRAIN, Split.VALIDATION)}
    fields = [pattern for pattern, _ in class_fields(curve.dataset.schema_version.compiled)]
    for done, point in enumerate(curve.points.order_by("share", "seed")):
        if not curve.send_heartbeat(stage=f"{point.labels} labels", progress_done=done):
            curve.cancelled()
            return
        if not point.fields:
            started = time.monotonic()
            point.fields = _classified(
                subset(rows[Split.TRAIN], point.labels, point.seed), rows[Split.VALIDATION], fields
            )
            point.seconds = time.monotonic() - started
            point.save(update_fields=["fields", "seconds"])
    curve.finish(progress_done=curve.progress_total)


def subset(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` rows drawn by the seed; fewer are a part of more. As ``training.ml.data.encoded_dataset.subset``."""
    return sorted(rows, key=lambda row: sha256_text(f"{seed}:{row['id']}"))[:count]


def _classified(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], fields: list[str]
) -> dict[str, list[int]]:
    vectors = TextVectors(row["text"] for row in train)
    learned = vectors.of(row["text"] for row in train)
    tested = vectors.of(row["text"] for row in validation)
    found: dict[str, list[int]] = {ALL_FIELDS: [0, 0]}
    for field in fields:
        model = TextClassifier(learned, [_class(row, field) for row in train])
        guesses = model.probabilities(tested).argmax(axis=1)
        right = sum(model.classes[at] == _class(row, field) for at, row in zip(guesses, validation, strict=True))
        found[field] = [right, len(validation)]
        found[ALL_FIELDS] = [found[ALL_FIELDS][0] + right, found[ALL_FIELDS][1] + len(validation)]
    return found


def _class(row: dict[str, Any], path: str) -> str:
    found = value_at(row["gold"], path)
    return dumps(None if found is MISSING else found)


# -- training runs ------------------------------------------------------------------------------------------------


def _start_runs(
    curve: LearningCurve, points: list[LearningPoint], base_model: BaseModel, user: User, max_hours: float | None
) -> None:
    """A training run and an evaluation for each point, the smallest first."""
    method = recommended_method(dataset=curve.dataset, base_model=base_model)
    usual = default_hyperparameters(dataset=curve.dataset, base_model=base_model, method=method)
    chosen = {(point.share, point.seed): _hyperparameters(curve, point, usual) for point in points}
    if max_hours is not None:
        hours = _hours(curve.dataset, base_model, list(chosen.values()))
        if hours is not None and hours > max_hours:
            raise Refused(
                f"The runs would take about {hours:.1f} hours, more than the budget of {max_hours:g}. Use fewer "
                "subsets, or raise the budget.",
                field="max_hours",
            )
    for point in points:
        point.training_run = start_training(
            project=curve.project,
            user=user,
            dataset=curve.dataset,
            base_model=base_model,
            hyperparameters=chosen[point.share, point.seed],
            name=f"{curve}: {point.labels} labels",
        )
        point.eval_run = start_evaluation(
            project=curve.project,
            user=user,
            dataset=curve.dataset,
            model=point.training_run,
            split=Split.VALIDATION,
        )
    LearningPoint.objects.bulk_create(points)


def _hyperparameters(curve: LearningCurve, point: LearningPoint, usual: Hyperparameters) -> Hyperparameters:
    """The preset for the size of the subset, with the method and the sequence length of the whole dataset."""
    own = preset(point.labels, usual.method, task_of(curve.dataset.schema_version.compiled.fields))
    own = replace(own, max_length=usual.max_length, keep_best_and_last=False)
    return replace(own, train_share=point.share, seed=point.seed)


def _hours(dataset: DatasetVersion, base_model: BaseModel, runs: list[Hyperparameters]) -> float | None:
    """The estimated hours of all runs; None where the throughput is unknown."""
    total = 0.0
    for one in runs:
        found = estimate_for(dataset=dataset, base_model=base_model, hyperparameters=one)
        if found is None or found.seconds is None:
            return None
        total += found.seconds / 3600
    return total


def on_evaluation_ended(run: EvalRun) -> None:
    """Stores the scores of a point whose evaluation has ended, and ends its curve after the last one."""
    for point in LearningPoint.objects.filter(eval_run=run).select_related("curve"):
        advance(point.curve_id)


def advance_all() -> None:
    """Advances every live curve of training runs; called after each pass of the reaper."""
    for pk in LearningCurve.objects.live().filter(base_model__isnull=False).values_list("pk", flat=True):
        advance(pk)


@transaction.atomic
def advance(pk: int) -> None:
    """Stores what is measured, and ends the curve once all its evaluations have ended. Safe to call at any time."""
    curve = LearningCurve.objects.select_for_update(of=("self",)).filter(pk=pk).first()
    if curve is None or not curve.is_live or curve.base_model_id is None:
        return
    points = list(curve.points.select_related("eval_run", "training_run"))
    for point in points:
        run = point.eval_run
        if run is not None and run.status == Status.DONE and not point.fields:
            point.fields = scores_by_field(run.scores)
            point.seconds = point.training_run.seconds if point.training_run is not None else None
            point.save(update_fields=["fields", "seconds"])
    measured = sum(bool(point.fields) for point in points)
    if any(point.eval_run is not None and point.eval_run.status in ACTIVE for point in points):
        curve.record(progress_done=measured, stage="training and evaluating")
    elif curve.cancel_requested:
        curve.cancelled(progress_done=measured)
    elif measured:
        curve.finish(progress_done=measured)
    else:
        curve.fail("No model was measured: every training run or evaluation failed or was cancelled.")


def scores_by_field(scores: Mapping[str, Any]) -> dict[str, list[int]]:
    """Right and scored values by field, from the scores of an evaluation."""
    rates = {ALL_FIELDS: scores["field_exact"], **scores.get("per_field", {})}
    return {name: [int(rate["k"]), int(rate["n"])] for name, rate in rates.items() if rate.get("n")}


def cancel(*, curve: LearningCurve, user: User) -> bool:
    """Cancels a curve with its training runs and evaluations. False if it had ended."""
    require(curve.project, user, Action.RUN)
    if not curve.cancel():
        return False
    for point in curve.points.select_related("training_run", "eval_run"):
        for run in (point.training_run, point.eval_run):
            if run is not None:
                run.cancel()
    audit_services.record(project=curve.project, user=user, action="cancelled", about=str(curve))
    advance(curve.pk)
    return True
