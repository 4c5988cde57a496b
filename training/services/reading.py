"""What the pages read about runs: nothing here writes."""

from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from labeling.models import DatasetVersion, Project, Split
from labeling.services.datasets import rows
from slmstudio.artifacts import local_path
from slmstudio.runs import Status
from slmstudio.workers import listening
from training.charts import FieldRow, Histogram, Sample, fields_over_time, histogram, samples_of
from training.models import BaseModel, LengthReport, TrainingEvent, TrainingRun
from training.services.runs import needed_length

LOG_TAIL = 20_000
_CURVES = (TrainingEvent.Kind.METRICS, TrainingEvent.Kind.VALIDATION, TrainingEvent.Kind.SAMPLES)


def nobody_works(queue: str) -> str:
    """A sentence where no worker listens to a queue, or the queue itself does not answer; empty where all is well."""
    try:
        if queue in listening():
            return ""
    except RedisError:
        return "The queue does not answer. What is queued waits until it does."
    return f"No worker listens to the queue {queue}, so runs wait. Start one with manage.py rqworker {queue}."


def curve_points(run: TrainingRun, after: int = 0) -> dict[str, Any]:
    """Points of a run's curves with an event id above ``after``, and the id to ask after next time.

    ``metrics`` are rows ``[step, loss, learning_rate, grad_norm, tokens_per_second]``, ``validation`` ``[step, loss]``,
    ``samples`` ``[step, field_exact, schema_valid]``; what a point does not have is null.
    """
    names = {
        "metrics": ("loss", "learning_rate", "grad_norm", "tokens_per_second"),
        "validation": ("loss",),
        "samples": ("field_exact", "schema_valid"),
    }
    points: dict[str, Any] = {"last": after, **{kind: [] for kind in names}}
    # The rows of a sample are long and no part of a curve: each key is picked out by the database.
    keys = sorted({f"data__{name}" for kind in names.values() for name in kind})
    found = TrainingEvent.objects.filter(run=run, pk__gt=after, kind__in=_CURVES).order_by("step")
    for event in found.values("pk", "kind", "step", *keys):
        points["last"] = max(points["last"], event["pk"])
        points[event["kind"]].append([event["step"], *(event[f"data__{name}"] for name in names[event["kind"]])])
    return points


@dataclass(frozen=True)
class Sampling:
    """The samples of one evaluation with those of all evaluations in numbers."""

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
    shown = next((event for event in events if event.step == step), events[-1])
    return Sampling(
        step=shown.step,
        steps=[event.step for event in events],
        newest=events[-1].step,
        samples=samples_of(shown.data, order),
        field_exact=shown.data.get("field_exact"),
        schema_valid=shown.data.get("schema_valid"),
        fields=fields_over_time([event.data for event in events], order),
        last=events[-1].pk,
    )


def golds(dataset: DatasetVersion, ids: set[str]) -> dict[str, Any]:
    """Gold of some validation documents of a dataset version, by id."""
    try:
        return {row["id"]: row["gold"] for row in rows(dataset, Split.VALIDATION) if row["id"] in ids}
    except OSError:
        return {}  # the page of a run outlives the file of its dataset


def log_tail(run: TrainingRun) -> tuple[str, int]:
    """The last words of the run's process, and how long its log is in bytes."""
    path = local_path(f"{run.folder_key}/log.txt")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - LOG_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return "", 0
    # A progress bar rewrites its line with carriage returns: the last state of a line is what was seen.
    lines = [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    if size > LOG_TAIL:
        lines = lines[1:]
    return "\n".join(lines).strip(), size


@dataclass(frozen=True)
class Lengths:
    """A length report as the new-run page shows it. ``needed``: the sequence length that every document fits in."""

    report: LengthReport
    histogram: Histogram | None
    totals: list[int]
    train_rows: int
    validation_rows: int
    needed: int
    train_tokens: int
    speed: float | None
    speed_from: TrainingRun | None


def lengths_of(report: LengthReport) -> Lengths:
    """The report with its histogram and what is known about this model's speed on this installation."""
    totals = sorted(tokens for _, tokens in report.totals())
    train = [tokens for _, tokens in report.totals(Split.TRAIN)]
    speed, source = _speed(report.base_model)
    return Lengths(
        report=report,
        histogram=histogram(totals),
        totals=totals,
        train_rows=len(train),
        validation_rows=len(totals) - len(train),
        needed=needed_length(report),
        train_tokens=sum(train),
        speed=speed,
        speed_from=source,
    )


def _speed(base_model: BaseModel) -> tuple[float | None, TrainingRun | None]:
    """Tokens per second of the last run of a base model that ended well, all of its time counted."""
    runs = TrainingRun.objects.filter(base_model=base_model, facts__tokens__gt=0).done()
    run: Any = runs.order_by("-finished_at").first()
    seconds = run.facts.get("seconds") if run is not None else None
    return (run.facts["tokens"] / seconds, run) if run is not None and seconds else (None, None)


def waiting_place(run: TrainingRun) -> int:
    """How many training runs were queued before this one and still wait."""
    return TrainingRun.objects.filter(status=Status.QUEUED, created_at__lt=run.created_at).count()


def newest_dataset_without_run(project: Project) -> DatasetVersion | None:
    """The newest dataset version, if nothing was trained on it and there is something to learn from."""
    dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    if dataset is None or not dataset.counts.get("splits", {}).get(Split.TRAIN):
        return None
    return None if dataset.training_runs.exists() else dataset
