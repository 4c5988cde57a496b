"""Whether an evaluation on this machine generates much more slowly than earlier ones of the same model."""

from statistics import median

from django.db.models import Count, Q, Sum

from evaluation.inference.local import LocalBackend
from evaluation.models import EvalOutput, EvalRun
from slmstudio.runs.models import Status
from slmstudio.workers.run_usage import slow_warning

#: earlier evaluations that are compared, and documents that a rate needs
MAX_EARLIER, MIN_DOCUMENTS = 5, 3


def expected_rate(run: EvalRun) -> float | None:
    """Tokens per second of the newest evaluations of models with the same base model; None if there are none."""
    backend = run.backend
    if not isinstance(backend, LocalBackend) or backend.started_from is None:
        return None
    rows = EvalRun.objects.filter(
        Q(base_model=backend.started_from) | Q(training_run__base_model=backend.started_from),
        project_id=run.project_id,
        concurrency=run.concurrency,
        export__isnull=backend.key.export is None,
        rescored_from=None,
    )
    earlier = rows.done().exclude(pk=run.pk).order_by("-number").only("latency", "facts", "concurrency")[:MAX_EARLIER]
    rates = [rate for other in earlier if (rate := _rate_of_finished(other))]
    return median(rates) if rates else None


def slow_run_warning(run: EvalRun) -> str:
    """A sentence where an evaluation is much slower than expected; "" if it is not, or that is unknown."""
    expected = run.facts.get("expected_tokens_per_second")
    if not expected or run.rescored_from_id is not None:
        return ""
    measured = _rate_of_finished(run) if run.status == Status.DONE else _partial_rate(run)
    return slow_warning(measured, float(expected), run.facts.get("load"), estimate="earlier evaluations")


def _partial_rate(run: EvalRun) -> float | None:
    sums = EvalOutput.objects.filter(eval_run=run).aggregate(
        n=Count("pk"), tokens=Sum("output_tokens"), spent=Sum("latency_ms")
    )
    return _rate(sums["tokens"], sums["spent"], run) if sums["n"] >= MIN_DOCUMENTS else None


def _rate_of_finished(run: EvalRun) -> float | None:
    mean, n = run.latency.get("mean"), run.latency.get("n")
    return _rate(run.facts.get("output_tokens"), mean * n, run) if mean and n and n >= MIN_DOCUMENTS else None


def _rate(tokens: int | None, spent_ms: float | None, run: EvalRun) -> float | None:
    """Concurrent documents share the time."""
    return 1000 * run.concurrency * tokens / spent_ms if tokens and spent_ms else None
