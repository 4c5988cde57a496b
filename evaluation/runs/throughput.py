"""How fast an evaluation here writes, beside what evaluations of the same model reached before."""

from statistics import median
from typing import Any

from django.db.models import Count, Q, Sum

from evaluation.models import EvalOutput, EvalRun
from slmstudio.runs.foreign_load import slow_warning
from slmstudio.runs.models import Status

#: earlier evaluations that are asked, and documents that say enough about this one
NEWEST, FEWEST = 5, 3


def expected_rate(run: EvalRun) -> float | None:
    """Tokens a second that the newest evaluations of models of the same base wrote; None where there are none."""
    base = run.base_model_id or (run.training_run.base_model_id if run.training_run is not None else None)
    if base is None or run.endpoint_id is not None:
        return None
    rows: Any = EvalRun.objects.filter(
        Q(base_model=base) | Q(training_run__base_model=base),
        project_id=run.project_id,
        at_once=run.at_once,
        export__isnull=run.export_id is None,
        rescored_from=None,
    )
    earlier = rows.done().exclude(pk=run.pk).order_by("-number").only("latency", "facts", "at_once")[:NEWEST]
    rates = [rate for one in earlier if (rate := _of_finished(one))]
    return median(rates) if rates else None


def slow(run: EvalRun) -> str:
    """A sentence where an evaluation is far slower than was to be expected; "" where it is not, or nobody knows."""
    expected = run.facts.get("expected_tokens_per_second")
    if not expected or run.endpoint_id is not None or run.rescored_from_id is not None:
        return ""
    measured = _of_finished(run) if run.status == Status.DONE else _so_far(run)
    return slow_warning(measured, float(expected), run.facts.get("load"), estimate="earlier evaluations")


def _so_far(run: EvalRun) -> float | None:
    found = EvalOutput.objects.filter(eval_run=run).aggregate(
        n=Count("pk"), tokens=Sum("output_tokens"), spent=Sum("latency_ms")
    )
    return _rate(found["tokens"], found["spent"], run) if found["n"] >= FEWEST else None


def _of_finished(run: EvalRun) -> float | None:
    mean, n = run.latency.get("mean"), run.latency.get("n")
    return _rate(run.facts.get("output_tokens"), mean * n, run) if mean and n and n >= FEWEST else None


def _rate(tokens: int | None, spent_ms: float | None, run: EvalRun) -> float | None:
    """Documents that are asked about together share the time."""
    return 1000 * run.at_once * tokens / spent_ms if tokens and spent_ms else None
