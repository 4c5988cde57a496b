"""The learning curve as a kind of study: models trained on nested subsets of a training split, measured on validation.

The classifier is trained by the job. A base model has a training run and an evaluation for each subset.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode
from pydantic import Field

from evaluation.learning_curves.outlook import MORE, field_curves, price
from evaluation.models import EvalRun
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from labeling.datasets.freeze_candidates import class_fields
from labeling.form.merge import MISSING, value_at
from labeling.models import Annotation, DatasetVersion, Project, Split, Study
from labeling.studies.kinds import Choices, StudyKind, StudySpec, no_dataset
from slmstudio.contract.json_text import dumps
from slmstudio.errors import Refused
from slmstudio.runs.models import ACTIVE, Status
from slmstudio.storage.hashing import sha256_text
from slmstudio.text.classifier import TextClassifier, TextVectors
from slmstudio.text.formatting import percent
from slmstudio.web.requests import positive_int
from training.encoders.heads import plan_heads
from training.estimates.services import estimate_for, recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters, train_rows
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel
from training.runs.queries import dataset_by_number
from training.runs.services import start_training

SHARES = (0.12, 0.25, 0.5, 1.0)
CLASSIFIER = "classifier"
#: documents that a curve needs for training and for validation
MIN_TRAIN, MIN_VALIDATION = 40, 20
#: validation documents to ask a freeze for: it draws each by chance, so fewer of them can come out
_DRAWN = 28
#: all fields together, next to the single ones
ALL_FIELDS = ""
_FIRST_SEED = 17
#: the newest labels whose median time counts
_RECENT = 500


class CurveSpec(StudySpec):
    """Dataset, model, subsets and budget."""

    dataset: int = Field(title="Dataset version")
    model: str = Field(CLASSIFIER, title="Model")
    seeds: int = Field(
        3,
        ge=1,
        le=5,
        title="Subsets of each size",
        description="Random subsets of 12%, 25% and 50% of the training documents. The full set is trained on once.",
    )
    max_hours: float | None = Field(
        None,
        ge=0.01,
        le=1000,
        title="Budget (hours)",
        description="For a base model: total time of all training runs. Leave empty for no limit.",
    )


@dataclass
class Point:
    """One model of a curve. ``fields``: pattern -> [right, scored] on validation; empty until it is measured.
    ``training_run`` and ``eval_run``: numbers of the runs of a base model; ``seconds``: of the training.
    """

    share: float
    seed: int
    labels: int
    fields: dict[str, list[int]] = field(default_factory=dict)
    seconds: float | None = None
    training_run: int | None = None
    eval_run: int | None = None

    @property
    def accuracy(self) -> float | None:
        """The accuracy over all fields; None until it is measured."""
        right, scored = self.fields.get(ALL_FIELDS, (0, 0))
        return right / scored if scored else None


class LearningCurve(StudyKind[CurveSpec]):
    """Accuracy by number of labels, and what more labels would bring."""

    key = "learning-curve"
    title = "Learning curve"
    about = (
        "Trains models on parts of the labels and measures them on validation documents: how much more labels "
        "would help, by field."
    )
    spec = CurveSpec
    template = "evaluation/learning_curves/panel.html"
    styles = ("css/evaluation.css", "css/learning_curves.css")
    decisive = ("dataset",)

    def choices(self, project: Project) -> dict[str, Choices]:
        datasets = DatasetVersion.objects.filter(project=project).order_by("-number")
        models = [(model.slug, model.name) for model in BaseModel.objects.by_size() if model.is_prepared]
        return {
            "dataset": [(dataset.number, str(dataset)) for dataset in datasets],
            "model": [(CLASSIFIER, "Classifier of fields with fixed values (seconds)"), *models],
        }

    def defaults(self, project: Project, chosen: Mapping[str, Any]) -> dict[str, Any]:
        newest = DatasetVersion.objects.filter(project=project).order_by("-number").first()
        return {"dataset": newest.number} if newest is not None else {}

    def form_context(self, project: Project, values: Mapping[str, Any]) -> dict[str, Any]:
        dataset = dataset_by_number(project, positive_int(str(values["dataset"] or "")))
        if dataset is None:
            return {} if project.datasets.exists() else no_dataset(project)
        if not _shortage(dataset):
            return {}
        link = {"url": freeze_url(project, dataset), "label": "Freeze a version with this validation share"}
        return {"dataset_warnings": [_shortage(dataset)], "link": link}

    def plan(self, study: Study, spec: CurveSpec) -> None:
        dataset = study.dataset = dataset_by_number(study.project, spec.dataset)
        if dataset is None:
            raise Refused("Choose a dataset version of this project.", field="dataset")
        if problem := _shortage(dataset):
            raise Refused(problem, field="dataset", code="few_documents")
        model = _base_model(spec)
        if model is None and spec.model != CLASSIFIER:
            raise Refused("Choose a prepared base model.", field="model")
        if model is None and not class_fields(dataset.schema_version.compiled):
            raise Refused("The schema has no field with fixed values to classify. Choose a base model.", field="model")
        points = planned(dataset, spec)
        study.progress_total = len(points)
        if model is not None:
            study.trials = [asdict(point) for point in points]
            _check_hours(dataset, model, spec, points)

    def is_composed(self, spec: CurveSpec) -> bool:
        return spec.model != CLASSIFIER

    def begin(self, study: Study, spec: CurveSpec) -> None:
        """A training run and an evaluation for each point without one that may still end, the smallest first."""
        model = _base_model(spec)
        if not self.is_composed(spec) or model is None:
            return
        points, runs = points_of(study), evaluations_of(study)
        for point in points:
            run = runs.get(point.eval_run or 0)
            if not point.fields and (run is None or run.status not in (*ACTIVE, Status.DONE)):
                _start_runs(study, model, point)
        study.record(trials=[asdict(point) for point in points])

    def advance(self, study: Study, spec: CurveSpec) -> None:
        """Stores what is measured, and ends the curve once all its evaluations have ended."""
        points, runs = points_of(study), evaluations_of(study)
        if study.cancel_requested:
            for run in (*study.training_runs.live(), *study.eval_runs.live()):
                run.cancel()
            runs = evaluations_of(study)
        for point in points:
            run = runs.get(point.eval_run or 0)
            if run is not None and run.status == Status.DONE and not point.fields:
                point.fields = scores_by_field(run.scores)
                point.seconds = run.training_run.seconds if run.training_run is not None else None
        stored = {"trials": [asdict(point) for point in points], "progress_done": sum(bool(p.fields) for p in points)}
        if any(run.status in ACTIVE for run in runs.values()):
            study.record(**stored, stage="stopping" if study.cancel_requested else "training and evaluating")
        elif study.cancel_requested:
            study.cancelled(**stored)
        elif stored["progress_done"]:
            study.finish(**stored, result=_result(points))
        else:
            study.fail("No model was measured: every training run or evaluation failed or was cancelled.", **stored)

    def steps(self, study: Study, spec: CurveSpec) -> Iterator[dict[str, Any]]:
        """The classifier of each point that is not measured yet."""
        dataset = study.dataset
        assert dataset is not None
        rows = {split: list(dataset_queries.rows(dataset, split)) for split in (Split.TRAIN, Split.VALIDATION)}
        names = [pattern for pattern, _ in class_fields(dataset.schema_version.compiled)]
        for point in planned(dataset, spec)[len(study.trials) :]:
            began = time.monotonic()
            train = subset(rows[Split.TRAIN], point.labels, point.seed)
            point.fields = _classified(train, rows[Split.VALIDATION], names)
            point.seconds = time.monotonic() - began
            yield asdict(point)

    def conclude(self, study: Study, spec: CurveSpec) -> dict[str, Any]:
        return _result(points_of(study))

    def panel(self, study: Study, spec: CurveSpec, query: QueryDict) -> dict[str, Any]:
        points = points_of(study)
        labels = max((point.labels for point in points), default=0)
        curves = field_curves([(point.labels, point.fields) for point in points if point.fields], labels)
        return {
            "points": points,
            "model": str(_base_model(spec) or spec.model),
            "composed": self.is_composed(spec),
            "labels": labels,
            "more": MORE,
            "fields": curves,
            "outlooks": [curve.outlook for curve in curves if curve.outlook is not None],
            "price": _label_price(study.project),
        }


LEARNING_CURVE = LearningCurve()


@dataclass(frozen=True)
class CurveOffer:
    """What the page of a version shows: its newest learning curve; else the encoder that measures one in minutes."""

    curve: Study | None
    encoder: BaseModel | None


def curve_offer(dataset: DatasetVersion) -> CurveOffer | None:
    """The newest curve of a version, or the smallest prepared encoder for one; None where there is neither, or too few
    documents.
    """
    rows = Study.objects.filter(project=dataset.project_id, dataset=dataset, kind=LEARNING_CURVE.key)
    curve = rows.order_by("-number").first()
    if curve is not None:
        return CurveOffer(curve, None)
    if _shortage(dataset) or not plan_heads(dataset.schema_version.compiled).heads:
        return None
    encoder = BaseModel.objects.filter(family=BaseModel.Family.ENCODER).prepared().by_size().first()
    return None if encoder is None else CurveOffer(None, encoder)


def planned(dataset: DatasetVersion, spec: CurveSpec) -> list[Point]:
    """The points to measure, the smallest first."""
    total = train_rows(dataset)
    return [
        Point(share, _FIRST_SEED + draw, max(1, round(share * total)))
        for share in SHARES
        for draw in range(spec.seeds if share < 1 else 1)
    ]


def points_of(study: Study) -> list[Point]:
    """The points of a curve."""
    return [Point(**values) for values in study.trials]


def evaluations_of(study: Study) -> dict[int, EvalRun]:
    """The evaluations of a curve by number."""
    return {run.number: run for run in study.eval_runs.select_related("training_run__base_model")}


def _base_model(spec: CurveSpec) -> BaseModel | None:
    model = BaseModel.objects.with_slug(spec.model) if spec.model != CLASSIFIER else None
    return model if model is not None and model.is_prepared else None


def _shortage(dataset: DatasetVersion) -> str:
    """Which documents a version lacks, as a sentence; "" if it has enough."""
    splits = dataset.counts.get("splits", {})
    train, validation = splits.get(Split.TRAIN, 0), splits.get(Split.VALIDATION, 0)
    if train >= MIN_TRAIN and validation >= MIN_VALIDATION:
        return ""
    more = MIN_TRAIN + _DRAWN - train - validation
    first = f"Label {more:,} more documents, then freeze" if more > 0 else "Freeze"
    return (
        f"A learning curve needs {MIN_TRAIN} training and {MIN_VALIDATION} validation documents; {dataset} has {train} "
        f"and {validation}. {first} a version with {validation_share(train + validation)}% validation."
    )


def validation_share(documents: int) -> int:
    """The share of ``documents`` outside the hold-out, in percent, that a version for a learning curve needs."""
    return math.ceil(100 * _DRAWN / max(documents, MIN_TRAIN + _DRAWN))


def freeze_url(project: Project, dataset: DatasetVersion) -> str:
    """The form of a freeze like that of a version, with the share of validation that a learning curve needs."""
    sizes, rules = dataset.counts["splits"], dataset.rules
    query = {
        "seed": dataset.seed,
        "validation": validation_share(sizes[Split.TRAIN] + sizes[Split.VALIDATION]),
        "holdout": round(100 * rules.get("holdout_share", 0.2), 1),
        **{name: rules.get(name, "") for name in ("group_by", "stratify", "large_families")},
    }
    return f"{reverse('datasets', args=[project.slug])}?{urlencode(query)}"


def _result(points: list[Point]) -> dict[str, Any]:
    full = next((point.accuracy for point in reversed(points) if point.accuracy is not None), None)
    return {"summary": f"{percent(full)} accuracy" if full is not None else ""}


def _label_price(project: Project) -> Any:
    """The price of more labels, from the contract and the median time of the newest labels."""
    rows = Annotation.objects.filter(project=project, submitted=True, user__isnull=False, seconds__gt=0)
    times = sorted(rows.order_by("-submitted_at").values_list("seconds", flat=True)[:_RECENT])
    constraints = project.contract.constraints
    return price(
        review_cost=constraints.get("review_cost"),
        currency=constraints.get("currency", ""),
        seconds=times[len(times) // 2] if times else None,
    )


# -- the classifier -----------------------------------------------------------------------------------------------


def subset(rows: list[dict[str, Any]], count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` rows drawn by the seed; fewer are a part of more. As ``training.ml.data.encoded_dataset.subset``."""
    return sorted(rows, key=lambda row: sha256_text(f"{seed}:{row['id']}"))[:count]


def _classified(
    train: list[dict[str, Any]], validation: list[dict[str, Any]], patterns: list[str]
) -> dict[str, list[int]]:
    vectors = TextVectors(row["text"] for row in train)
    learned = vectors.of(row["text"] for row in train)
    tested = vectors.of(row["text"] for row in validation)
    scores: dict[str, list[int]] = {ALL_FIELDS: [0, 0]}
    for pattern in patterns:
        model = TextClassifier(learned, [_class(row, pattern) for row in train])
        guesses = model.probabilities(tested).argmax(axis=1)
        right = sum(model.classes[at] == _class(row, pattern) for at, row in zip(guesses, validation, strict=True))
        scores[pattern] = [right, len(validation)]
        scores[ALL_FIELDS] = [scores[ALL_FIELDS][0] + right, scores[ALL_FIELDS][1] + len(validation)]
    return scores


def _class(row: dict[str, Any], path: str) -> str:
    value = value_at(row["gold"], path)
    return dumps(None if value is MISSING else value)


# -- training runs ------------------------------------------------------------------------------------------------


def _start_runs(study: Study, model: BaseModel, point: Point) -> None:
    assert study.dataset is not None
    assert study.created_by is not None
    common: dict[str, Any] = {"project": study.project, "user": study.created_by, "dataset": study.dataset}
    training = start_training(
        **common,
        base_model=model,
        hyperparameters=_hyperparameters(study.dataset, model, point),
        name=f"{study}: {point.labels} labels",
    )
    evaluation = start_evaluation(**common, model=training, split=Split.VALIDATION)
    for run in (training, evaluation):
        run.study = study
        run.save(update_fields=["study"])
    point.training_run, point.eval_run = training.number, evaluation.number


def _hyperparameters(dataset: DatasetVersion, model: BaseModel, point: Point) -> Hyperparameters:
    """The preset for the size of the subset, with the method and the sequence length of the whole dataset."""
    method, _ = recommended_method(dataset=dataset, base_model=model)
    usual = default_hyperparameters(dataset=dataset, base_model=model, method=method, rows=point.labels)
    return replace(usual, keep_best_and_last=False, train_share=point.share, seed=point.seed)


def _check_hours(dataset: DatasetVersion, model: BaseModel, spec: CurveSpec, points: list[Point]) -> None:
    """Refused if all runs would take longer than the budget; not where the throughput is unknown."""
    if spec.max_hours is None:
        return
    hours = 0.0
    for point in points:
        hyperparameters = _hyperparameters(dataset, model, point)
        estimate = estimate_for(dataset=dataset, base_model=model, hyperparameters=hyperparameters)
        if estimate is None or estimate.seconds is None:
            return
        hours += estimate.seconds / 3600
    if hours > spec.max_hours:
        raise Refused(
            f"The runs would take about {hours:.1f} hours, more than the budget of {spec.max_hours:g}. Use fewer "
            "subsets, or raise the budget.",
            field="max_hours",
        )


def scores_by_field(scores: Mapping[str, Any]) -> dict[str, list[int]]:
    """Right and scored values by field, from the scores of an evaluation."""
    rates = {ALL_FIELDS: scores["field_exact"], **scores.get("per_field", {})}
    return {name: [int(rate["k"]), int(rate["n"])] for name, rate in rates.items() if rate.get("n")}
