"""Reads of training runs for pages and panels."""

import math
from dataclasses import dataclass
from typing import Any

import django_rq
from django.utils import timezone
from redis.exceptions import RedisError

from labeling.datasets.queries import rows
from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs.models import Status
from slmstudio.runs.path_redaction import redact_paths
from slmstudio.storage.artifacts import local_path
from slmstudio.workers.system_usage import slow_warning
from training.estimates.accuracy import estimate_accuracy
from training.estimates.estimate import Estimate
from training.estimates.throughput import STARTUP_SECONDS
from training.hyperparameters.defaults import needed_length
from training.models import LengthReport, ModelVersion, TrainingEvent, TrainingRun
from training.runs.charts import (
    FieldRow,
    Histogram,
    Sample,
    fields_over_time,
    histogram,
    samples_of,
)

LOG_TAIL_BYTES = 20_000


@dataclass(frozen=True)
class Sampling:
    """The samples of one evaluation, and the field accuracy of all evaluations. ``last``: id of the newest event."""

    step: int
    steps: list[int]
    newest: int
    samples: list[Sample]
    field_exact: float | None
    schema_valid: float | None
    fields: list[FieldRow]
    last: int


def sampling(run: TrainingRun, step: int | None = None) -> Sampling | None:
    """The samples at ``step``, or at the last evaluation; None before the first."""
    events = list(TrainingEvent.objects.filter(run=run, kind=TrainingEvent.Kind.SAMPLES).order_by("step"))
    if not events:
        return None
    order = [field.pattern for field in run.dataset.schema_version.compiled.fields]
    selected = next((event for event in events if event.step == step), events[-1])
    return Sampling(
        step=selected.step,
        steps=[event.step for event in events],
        newest=events[-1].step,
        samples=samples_of(selected.data, order),
        field_exact=selected.data.get("field_exact"),
        schema_valid=selected.data.get("schema_valid"),
        fields=fields_over_time([event.data for event in events], order),
        last=events[-1].pk,
    )


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


@dataclass(frozen=True)
class Lengths:
    """A length report as the new-run page shows it. ``needed``: the sequence length that fits every document."""

    report: LengthReport
    histogram: Histogram | None
    totals: list[int]
    train_rows: int
    validation_rows: int
    needed: int


def lengths_of(report: LengthReport) -> Lengths:
    """The report with its histogram."""
    totals = sorted(tokens for _, tokens in report.totals())
    train = [tokens for _, tokens in report.totals(Split.TRAIN)]
    return Lengths(
        report=report,
        histogram=histogram(totals),
        totals=totals,
        train_rows=len(train),
        validation_rows=len(totals) - len(train),
        needed=needed_length(report),
    )


def queue_position(run: TrainingRun) -> int:
    """How many training runs are ahead of this one in the job queue; a resumed run is put first."""
    try:
        order = django_rq.get_queue(run.queue_name).job_ids
    except RedisError:
        return 0
    own = str(run.job_id)
    ahead = order[: order.index(own)] if own in order else order
    waiting = TrainingRun.objects.filter(status=Status.QUEUED).exclude(pk=run.pk).values_list("job_id", flat=True)
    return len({str(job_id) for job_id in waiting} & set(ahead))


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


@dataclass(frozen=True)
class ValidationPoint:
    """The evaluation with the lowest validation loss. ``is_saved``: the model has its weights."""

    step: int
    loss: float
    is_saved: bool


def best_validation(run: TrainingRun, validations: list[TrainingEvent]) -> ValidationPoint | None:
    """The best of the evaluations; None before there are two."""
    points = [(event.data["loss"], event.step) for event in validations if event.data.get("loss") is not None]
    if len(points) < 2:
        return None
    loss, step = min(points)
    saved = run.facts.get("best_step")
    if saved is not None:
        loss, step = next((point for point in points if point[1] == saved), (loss, step))
    return ValidationPoint(step=step, loss=loss, is_saved=step == saved)


def best_field_accuracy(run: TrainingRun) -> ValidationPoint | None:
    """The evaluation with the highest field accuracy, the first of several, with that accuracy as ``loss``."""
    rows = TrainingEvent.objects.filter(run=run, kind=TrainingEvent.Kind.SAMPLES).order_by("step")
    points = [(value, step) for step, value in rows.values_list("step", "data__field_exact") if value is not None]
    if not points:
        return None
    value, step = max(points, key=lambda point: point[0])
    return ValidationPoint(step=step, loss=value, is_saved=step == run.facts.get("best_step"))


@dataclass(frozen=True)
class KeptWeights:
    """A model version of a run, with the evaluation at its step; None where that was not measured."""

    version: ModelVersion
    epoch: float | None = None
    loss: float | None = None
    field_exact: float | None = None


def kept_weights(run: TrainingRun) -> list[KeptWeights]:
    """The model versions of a run, the chosen one first."""
    versions = list(run.model_versions.order_by("is_alternative"))
    kinds = (TrainingEvent.Kind.VALIDATION, TrainingEvent.Kind.SAMPLES)
    events = run.events.filter(kind__in=kinds, step__in=[one.step for one in versions if one.step is not None])
    found: dict[int, dict[str, float]] = {}
    for step, epoch, loss, field_exact in events.values_list("step", "data__epoch", "data__loss", "data__field_exact"):
        values = {"epoch": epoch, "loss": loss, "field_exact": field_exact}
        found.setdefault(step, {}).update({name: value for name, value in values.items() if value is not None})
    return [KeptWeights(one, **found.get(one.step or 0, {})) for one in versions]


def slow_message(run: TrainingRun, tokens_per_second: float | None) -> str:
    """A message where a run is slower than half of its estimated throughput; else empty."""
    estimate = Estimate.from_dict(run.estimate or {})
    seconds = (estimate.seconds or 0.0) - STARTUP_SECONDS if estimate is not None else 0.0
    expected = estimate.tokens / seconds if estimate is not None and seconds > 0 else None
    return slow_warning(tokens_per_second, expected, run.facts.get("load"), estimate="estimated")


def estimate_accuracy_lines(run: TrainingRun) -> list[str]:
    """The estimate of a run that is done next to what was measured; empty where either is missing."""
    if run.status != Status.DONE:
        return []
    return estimate_accuracy(Estimate.from_dict(run.estimate or {}), run.facts).lines


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
    """The newest dataset version where it has training documents and no run yet."""
    dataset = newest_dataset(project)
    if dataset is None or not dataset.counts.get("splits", {}).get(Split.TRAIN):
        return None
    return None if dataset.training_runs.exists() else dataset
