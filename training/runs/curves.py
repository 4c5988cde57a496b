"""Curves of training runs, and their final metrics. Reads only."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from django.db.models import F, FloatField, Func, JSONField, Max, Min, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from slmstudio.storage.artifacts import local_path
from training.models import TrainingEvent, TrainingRun
from training.runs.charts import field_tallies
from training.spec import RunSpec
from training.strict_yaml import SpecError

_METRICS = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "memory_bytes", "tokens")
_SYSTEM = (
    *("cpu", "machine_cpu", "cores", "memory_bytes", "machine_memory_bytes", "machine_memory_total"),
    *("gpu", "gpu_memory_bytes", "gpu_memory_total"),
)
POINT_VALUES = {
    "metrics": _METRICS,
    "validation": ("loss",),
    "samples": ("field_exact", "schema_valid"),
    "checkpoint": (),
    "system": _SYSTEM,
}


def spec_of(run: TrainingRun) -> RunSpec | None:
    """The spec of a run; None where this version cannot read it."""
    try:
        return RunSpec.from_yaml(run.spec)
    except SpecError:
        return None


def curve_points(run: TrainingRun, after: int = 0) -> dict[str, Any]:
    """Points of a run's curves with an event id above ``after``, and the newest id as ``last``.

    Each row starts with ``step, epoch, seconds`` (since the run's first point). ``metrics`` continue with ``loss,
    learning_rate, grad_norm, tokens_per_second, memory_bytes, tokens`` (trained so far), ``validation`` with ``loss``,
    ``samples`` with ``field_exact, schema_valid, {field: [correct, scored]}``. Rows of ``system`` start with the
    seconds of the run instead of a step, and continue with the values of ``SystemUsage.read``. Missing values are null.
    ``attempt`` increases when earlier points are void because a resumed run trains their steps again.
    """
    points: dict[str, Any] = {
        "last": after,
        "attempt": int(run.facts.get("voided") or 0),
        **{kind: [] for kind in POINT_VALUES},
    }
    began: datetime | None = run.events.aggregate(first=Min("created_at"))["first"]
    if began is None:
        return points
    # Sample texts are long and not part of a curve, so the database extracts the keys.
    keys = sorted({"epoch", "seconds", *(name for names in POINT_VALUES.values() for name in names)})
    outcomes = Func(F("data"), Value("$.rows[*].outcomes"), function="jsonb_path_query_array", output_field=JSONField())
    points_query = TrainingEvent.objects.filter(run=run, pk__gt=after, kind__in=POINT_VALUES).annotate(
        outcomes=outcomes
    )
    for event in points_query.order_by("step", "pk").values(
        "pk", "kind", "step", "created_at", "outcomes", *(f"data__{key}" for key in keys)
    ):
        kind = event["kind"]
        points["last"] = max(points["last"], event["pk"])
        seconds = round((event["created_at"] - began).total_seconds(), 1)
        at = event["data__seconds"] if kind == TrainingEvent.Kind.SYSTEM else event["step"]
        row = [at, event["data__epoch"], seconds, *(event[f"data__{name}"] for name in POINT_VALUES[kind])]
        if kind == TrainingEvent.Kind.SAMPLES:
            row.append(field_tallies(event["outcomes"]))
        points[kind].append(row)
    return points


def final_metrics(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """Current or final metrics of some runs, in their order, in three queries; None where there is no such point.

    Each: ``best_validation`` with ``best_step``, ``field_exact`` and ``loss`` at the last point, ``seconds``,
    ``memory_bytes``, ``tokens_per_second``.
    """
    events = TrainingEvent.objects.filter(run__in=runs)
    evaluations: dict[Any, list[Any]] = {run.pk: [] for run in runs}
    rows = events.filter(kind__in=("validation", "samples")).order_by("step")
    for row in rows.values("run", "kind", "step", "data__loss", "data__field_exact"):
        evaluations[row["run"]].append(row)
    metrics = events.filter(kind="metrics")
    peak = Max(Cast(KT("data__memory_bytes"), FloatField()))
    memory = dict(metrics.values_list("run").annotate(peak=peak).order_by())
    newest = metrics.order_by("run", "-step").distinct("run")
    last: dict[Any, Any] = {
        event["run"]: event for event in newest.values("run", "data__loss", "data__tokens_per_second")
    }
    return [_final_metrics(run, evaluations[run.pk], last.get(run.pk, {}), memory.get(run.pk)) for run in runs]


def _final_metrics(
    run: TrainingRun, evaluations: list[dict[str, Any]], last: dict[str, Any], memory: float | None
) -> dict[str, Any]:
    validations = [(row["data__loss"], row["step"]) for row in evaluations if row["kind"] == "validation"]
    best = min((pair for pair in validations if pair[0] is not None), default=(None, None))
    samples: Any = next((row for row in reversed(evaluations) if row["kind"] == "samples"), {})
    seconds, tokens = run.facts.get("seconds"), run.facts.get("tokens")
    return {
        "best_validation": best[0],
        "best_step": best[1],
        "field_exact": samples.get("data__field_exact"),
        "loss": last.get("data__loss"),
        "seconds": seconds or run.seconds,
        "memory_bytes": run.facts.get("peak_memory_bytes") or memory,
        "tokens_per_second": tokens / seconds if seconds and tokens else last.get("data__tokens_per_second"),
    }


def checkpoints(run: TrainingRun) -> tuple[list[dict[str, Any]], int]:
    """The checkpoints of a run that are on disk, newest first, and how many it has saved in total.

    Each: step, path, bytes, sha256 as the trainer reported them; ``best``: whether it has the best weights.
    """
    events: Iterable[TrainingEvent] = run.events.filter(kind=TrainingEvent.Kind.CHECKPOINT).order_by("-step")
    best = run.facts.get("best_step")
    written = [{"step": event.step, **event.data, "best": event.step == best} for event in events]
    folder = local_path(f"{run.folder_key}/state")
    stored = [saved for saved in written if (folder / (PurePath(str(saved.get("path") or "")).name or "-")).is_dir()]
    return stored, len(written)
