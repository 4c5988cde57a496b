"""What the pages read about runs: nothing here writes."""

import math
from dataclasses import dataclass
from typing import Any

import django_rq
from django.utils import timezone
from redis.exceptions import RedisError

from labeling.datasets.queries import rows
from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs.foreign_load import slow_warning
from slmstudio.runs.models import Status
from slmstudio.runs.plain_paths import redact_paths
from slmstudio.storage.artifacts import local_path
from slmstudio.workers.registry import active_queues
from training.estimates.estimate import Estimate, how_far_off
from training.estimates.throughput import STARTING
from training.models import LengthReport, TrainingEvent, TrainingRun
from training.runs.charts import FieldRow, Histogram, Sample, fields_over_time, foretold, histogram, samples_of
from training.runs.services import needed_length

LOG_TAIL = 20_000


def nobody_works(queue: str) -> str:
    """A sentence where no worker listens to a queue, or the queue itself does not answer; empty where all is well."""
    try:
        if queue in active_queues():
            return ""
    except RedisError:
        return "The job queue is not reachable. What is queued waits until it does."
    return f"No worker listens to the queue {queue}, so runs wait. Start one with manage.py rqworker {queue}."


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
    return redact_paths("\n".join(lines).strip()), size


@dataclass(frozen=True)
class Lengths:
    """A length report as the new-run page shows it. ``needed``: the sequence length that every document fits in."""

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


def waiting_place(run: TrainingRun) -> int:
    """How many training runs a worker takes before this one: the queue's order, in which a resumed run may be first."""
    try:
        order = django_rq.get_queue(run.queue_name).job_ids
    except RedisError:
        return 0
    mine = str(run.job_id)
    ahead = order[: order.index(mine)] if mine in order else order
    waiting = TrainingRun.objects.filter(status=Status.QUEUED).exclude(pk=run.pk).values_list("job_id", flat=True)
    return len({str(job_id) for job_id in waiting} & set(ahead))


def time_left(last: TrainingEvent) -> float:
    """Seconds left as the trainer said at its last point, less what has passed since, in steps that do not flicker."""
    age = min(120.0, (timezone.now() - last.created_at).total_seconds())
    seconds = max(0.0, float(last.data.get("seconds_left") or 0) - max(0.0, age))
    grain = next(grain for limit, grain in ((60, 5), (600, 15), (3600, 60), (math.inf, 300)) if seconds < limit)
    return math.ceil(seconds / grain) * grain


def attempts_in_words(run: TrainingRun) -> str:
    """How a run that was taken up more than once began this time; empty for the first time."""
    if run.attempts < 2:
        return ""
    step = run.facts.get("resumed_from")
    if not step:
        return f"Attempt {run.attempts}: begun anew, because there was no checkpoint yet." if run.tries > 1 else ""
    asked = [one for one in run.facts.get("resumed_by", []) if one.get("step") == step]
    why = f"by {asked[-1].get('who')}" if asked else "after its worker or its process had ended"
    return f"Attempt {run.attempts}: resumed from step {step:,} {why}."


@dataclass(frozen=True)
class Look:
    """The look at the validation split with the lowest loss. ``kept``: its weights are what comes out."""

    step: int
    loss: float
    kept: bool


def best_look(run: TrainingRun, validations: list[TrainingEvent]) -> Look | None:
    """The best of some looks; None before there are two to choose from."""
    looks = [(event.data["loss"], event.step) for event in validations if event.data.get("loss") is not None]
    if len(looks) < 2:
        return None
    loss, step = min(looks)
    kept = run.facts.get("best_step")
    if kept is not None:
        loss, step = next((pair for pair in looks if pair[1] == kept), (loss, step))
    return Look(step=step, loss=loss, kept=step == kept)


def slow(run: TrainingRun, tokens_per_second: float | None) -> str:
    """A sentence where a run makes less than half the tokens a second of its estimate; "" where it does not."""
    foretold = Estimate.from_dict(run.estimate or {})
    seconds = (foretold.seconds or 0.0) - STARTING if foretold is not None else 0.0
    expected = foretold.tokens / seconds if foretold is not None and seconds > 0 else None
    return slow_warning(tokens_per_second, expected, run.facts.get("load"), estimate="estimated")


def against_reality(run: TrainingRun) -> list[str]:
    """What was foretold before the start beside what came, as sentences' halves; empty where nothing was measured."""
    if run.status != Status.DONE:
        return []
    outcome = how_far_off(Estimate.from_dict(run.estimate or {}), run.facts)
    return foretold(outcome.memory_bytes, outcome.memory_off, outcome.seconds, outcome.seconds_off)


def newest_dataset_without_run(project: Project) -> DatasetVersion | None:
    """The newest dataset version, if nothing was trained on it and there is something to learn from."""
    dataset = DatasetVersion.objects.filter(project=project).order_by("-number").first()
    if dataset is None or not dataset.counts.get("splits", {}).get(Split.TRAIN):
        return None
    return None if dataset.training_runs.exists() else dataset
