"""Reads of training runs for pages and panels."""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from labeling.datasets.queries import rows
from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs.models import Status
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.storage.artifacts import local_path
from slmstudio.workers.run_usage import slow_warning
from training.encoders.heads import plan_heads
from training.estimates.estimate import Estimate, accuracy_lines
from training.estimates.throughput import STARTUP_SECONDS
from training.models import BaseModel, LengthReport, ModelVersion, TrainingEvent, TrainingRun, TrainingRunQuerySet
from training.runs.charts import fields_over_time, marks_of

LOG_TAIL_BYTES = 20_000


def sampling(run: TrainingRun, step: int | None = None) -> dict[str, Any] | None:
    """The samples at ``step``, or at the last evaluation, and the field accuracy of all evaluations; None before the
    first. ``last``: id of the newest event.
    """
    events = list(run.events.filter(kind=TrainingEvent.Kind.SAMPLES).order_by("step"))
    if not events:
        return None
    order = [field.pattern for field in run.dataset.schema_version.compiled.fields]
    selected = next((event for event in events if event.step == step), events[-1])
    return {
        "step": selected.step,
        "steps": [event.step for event in events],
        "newest": events[-1].step,
        "samples": [
            {**row, "marks": marks_of(row.get("outcomes") or {}, order)} for row in selected.data.get("rows", [])
        ],
        "field_exact": selected.data.get("field_exact"),
        "schema_valid": selected.data.get("schema_valid"),
        "fields": fields_over_time([event.data for event in events], order),
        "last": events[-1].pk,
    }


@dataclass(frozen=True)
class HeadRow:
    """A field of an encoder's run and its head, on the page of the run. ``located``: training documents whose gold it
    learns from, of those that have a value; None before the run has started, and without a head. ``reason``: why there
    is none.
    """

    pattern: str
    description: str = ""
    located: tuple[int, int] | None = None
    reason: str = ""


def head_rows(run: TrainingRun, without: Collection[str]) -> list[HeadRow]:
    """The heads of an encoder's run, then the fields without one; empty for a decoder. ``without``: those left out."""
    if not run.base_model.is_encoder:
        return []
    plan = plan_heads(run.dataset.schema_version.compiled)
    located = {head["field"]: tuple(head["located"]) for head in run.facts.get("heads") or ()}
    kept = [head for head in plan.heads if head.pattern not in without]
    return [
        *(HeadRow(head.pattern, head.description, located.get(head.pattern)) for head in kept),
        *(HeadRow(head.pattern, reason="left out") for head in plan.heads if head.pattern in without),
        *(HeadRow(item.pattern, reason=f"{item.reason}; it needs a decoder") for item in plan.unanswered),
    ]


def gold_labels(dataset: DatasetVersion, ids: set[str]) -> dict[str, Any]:
    """Gold labels of some validation documents of a dataset version, by id."""
    try:
        return {row["id"]: row["gold"] for row in rows(dataset, Split.VALIDATION) if row["id"] in ids}
    except OSError:
        return {}  # the file of the dataset may be deleted


def log_tail(run: TrainingRun) -> tuple[str, int]:
    """The end of the run's log, and the size of the log in bytes."""
    path = local_path(f"{run.folder_key}/log.txt")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return "", 0
    # A progress bar rewrites its line with carriage returns; the last state of a line is kept.
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    if size > LOG_TAIL_BYTES:
        lines = lines[1:]
    return redact_paths("\n".join(lines).strip()), size


def time_left(last: TrainingEvent) -> float:
    """Seconds left by the trainer's last event, less the time since, rounded so that the display is steady."""
    age = min(120.0, (timezone.now() - last.created_at).total_seconds())
    seconds = max(0.0, float(last.data.get("seconds_left") or 0) - max(0.0, age))
    grain = next(grain for limit, grain in ((60, 5), (600, 15), (3600, 60), (math.inf, 300)) if seconds < limit)
    return math.ceil(seconds / grain) * grain


def attempt_description(run: TrainingRun) -> str:
    """How this attempt started; empty for the first one."""
    if run.attempts < 2:
        return ""
    step = run.facts.get("resumed_from")
    if not step:
        return (
            f"Attempt {run.attempts}: restarted from the beginning, without a checkpoint."
            if run.attempts_since_restart > 1
            else ""
        )
    requests = [entry for entry in run.facts.get("resumed_by", []) if entry.get("step") == step]
    cause = f"by {requests[-1].get('who')}" if requests else "after its worker or process ended"
    return f"Attempt {run.attempts}: resumed from step {step:,} {cause}."


def best_evaluation(run: TrainingRun, metric: str) -> dict[str, Any] | None:
    """The best evaluation by a metric of ``best_metric``, the first of several: step, value, and whether the model has
    its weights. None before there is one, by validation loss before there are two.
    """
    by_loss, saved = metric == "validation_loss", run.facts.get("best_step")
    kind, key = ("validation", "data__loss") if by_loss else ("samples", "data__field_exact")
    rows = run.events.filter(kind=kind).order_by("step").values_list("step", key)
    points = [(value, step) for step, value in rows if value is not None]
    if len(points) < (2 if by_loss else 1):
        return None
    value, step = min(points, key=lambda point: point[0] if by_loss else -point[0])
    if by_loss:
        value, step = next((point for point in points if point[1] == saved), (value, step))
    return {"step": step, "value": value, "is_saved": step == saved}


def kept_weights(run: TrainingRun) -> list[tuple[ModelVersion, dict[str, float]]]:
    """The model versions of a run, the chosen one first, each with what was measured at its step: epoch, loss and
    field_exact.
    """
    versions = list(run.model_versions.order_by("is_alternative"))
    kinds = (TrainingEvent.Kind.VALIDATION, TrainingEvent.Kind.SAMPLES)
    events = run.events.filter(kind__in=kinds, step__in=[version.step for version in versions if version.step])
    measured: dict[int, dict[str, float]] = {}
    for step, *values in events.values_list("step", "data__epoch", "data__loss", "data__field_exact"):
        named = zip(("epoch", "loss", "field_exact"), values, strict=True)
        measured.setdefault(step, {}).update({name: value for name, value in named if value is not None})
    return [(version, measured.get(version.step or 0, {})) for version in versions]


def slow_message(run: TrainingRun, tokens_per_second: float | None) -> str:
    """A message where a run is slower than half of its estimated throughput; else empty."""
    estimate = Estimate.from_dict(run.estimate or {})
    seconds = (estimate.seconds or 0.0) - STARTUP_SECONDS if estimate is not None else 0.0
    expected = estimate.tokens / seconds if estimate is not None and seconds > 0 else None
    return slow_warning(tokens_per_second, expected, run.facts.get("load"), estimate="estimated")


def estimate_lines(run: TrainingRun) -> list[str]:
    """The estimate of a run that is done next to what was measured; empty where either is missing."""
    estimate = Estimate.from_dict(run.estimate or {})
    return accuracy_lines(estimate, run.facts) if run.status == Status.DONE and estimate is not None else []


def runs_for_page() -> TrainingRunQuerySet:
    """All runs, with all that the page of one shows."""
    return TrainingRun.objects.select_related("dataset__schema_version", "base_model", "created_by")


def runs_to_compare(project: Project, numbers: Iterable[int]) -> list[TrainingRun]:
    """The runs with these numbers in this order, with all that a comparison shows."""
    rows = TrainingRun.objects.filter(project=project, number__in=list(numbers))
    by_number = {run.number: run for run in rows.select_related("dataset__schema_version", "base_model", "project")}
    return [by_number[number] for number in numbers if number in by_number]


def other_runs(project: Project, numbers: Iterable[int]) -> list[TrainingRun]:
    """The newest fifty runs of a project without those with these numbers, for a choice."""
    shown = TrainingRun.objects.of_project(project).filter(archived_at__isnull=True)
    return list(shown.exclude(number__in=list(numbers)).only("number", "name")[:50])


def run_by_number(project: Project, number: int) -> TrainingRun | None:
    """The run with this number, or None."""
    return TrainingRun.objects.of_project(project).filter(number=number).first()


def dataset_by_number(project: Project, number: int) -> DatasetVersion | None:
    """The dataset version with this number, with its schema, or None."""
    versions = DatasetVersion.objects.filter(project=project, number=number)
    return versions.select_related("schema_version").first()


def newest_dataset(project: Project) -> DatasetVersion | None:
    """The newest dataset version of a project, with its schema, or None."""
    versions = DatasetVersion.objects.filter(project=project).order_by("-number")
    return versions.select_related("schema_version").first()


def newest_dataset_without_run(project: Project) -> DatasetVersion | None:
    """The newest dataset version where it has training documents and no run yet, and the project has no live run."""
    dataset = newest_dataset(project)
    if dataset is None or not dataset.counts.get("splits", {}).get(Split.TRAIN):
        return None
    is_used = dataset.training_runs.exists() or TrainingRun.objects.filter(project=project).live().exists()
    return None if is_used else dataset


def inputs_of(
    project: Project, number: int, slug: object, source: TrainingRun | None = None
) -> tuple[DatasetVersion | None, BaseModel | None]:
    """The dataset version and the base model of a new run: those named, else those of ``source``, else the newest
    version and the default model.
    """
    dataset, base_model = dataset_by_number(project, number), BaseModel.objects.with_slug(slug)
    if source is not None:
        dataset, base_model = dataset or source.dataset, base_model or source.base_model
    return dataset or newest_dataset(project), base_model or BaseModel.objects.default()


def length_reports(dataset: DatasetVersion) -> tuple[list[LengthReport], list[BaseModel]]:
    """The length reports of a dataset version, and the base models without a current or live one, smallest first."""
    rows = LengthReport.objects.filter(dataset=dataset).select_related("base_model")
    reports = list(rows.order_by("base_model__parameters"))
    known = {report.base_model_id for report in reports if report.is_current or report.is_live}
    return reports, [model for model in BaseModel.objects.usable().by_size() if model.pk not in known]


def length_report(dataset: DatasetVersion, base_model: BaseModel) -> LengthReport | None:
    """The length report of a dataset version under a base model, with the base model."""
    return LengthReport.objects.of(dataset, base_model)
