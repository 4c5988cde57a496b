"""The head of a comparison: figures of A and B side by side, and those of the large model that does the job today."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.models import EvalRun
from evaluation.services.benchmark_results import cost_of
from evaluation.templatetags.evaluation import money
from labeling.models import Project, Split
from slmstudio.runs import Status
from slmstudio.templatetags.studio import memory, milliseconds

TITLES = {
    "schema_valid": "Schema-valid",
    "field_exact": "Fields right",
    "document_exact": "Documents wholly right",
    "hallucinated": "Documents with something made up",
}


@dataclass(frozen=True)
class Rate:
    """A line with a rate for each run; ``change`` is B's less A's, ``p_value`` of the documents that moved."""

    title: str
    values: tuple[Mapping[str, Any], ...]
    change: float | None
    good: bool
    p_value: float


@dataclass(frozen=True)
class Line:
    """A line with a text for each run, and how B's number stands to A's: "−38 %"."""

    title: str
    values: tuple[str, ...]
    change: str = ""


def today(a: EvalRun, b: EvalRun) -> EvalRun | None:
    """The newest evaluation of a model elsewhere on the documents of B; None where there is none beside A and B.

    It shows what it costs to stay as one is.
    """
    if a.endpoint_id is not None or b.endpoint_id is not None:
        return None
    rows: Any = EvalRun.objects.filter(project_id=b.project_id, split=b.split, benchmark=b.benchmark_id)
    rows = rows.filter(endpoint__isnull=False, status=Status.DONE)
    if b.benchmark_id is None:
        same = {"holdout_sha256": b.dataset.holdout_sha256} if b.split == Split.HOLDOUT else {"pk": b.dataset_id}
        rows = rows.filter(**{f"dataset__{name}": value for name, value in same.items()})
    # In two queries: to plan the joins of its name takes longer than to see that there is mostly none.
    key = rows.order_by("-number").values_list("pk", flat=True).first()
    return None if key is None else EvalRun.objects.with_subject().get(pk=key)


def rates(result: Mapping[str, Any], beside: EvalRun | None) -> list[Rate]:
    """Rates on the documents that A and B share; those of the run beside them are over its own."""
    found = []
    for measure in result["measures"]:
        a, b = measure["a"], measure["b"]
        if not (a["n"] and b["n"]):
            continue
        change = float(b["rate"]) - float(a["rate"])
        values = (a, b) if beside is None else (a, b, beside.scores.get(measure["name"]) or {})
        good = change > 0 if measure["good_is_up"] else change < 0
        found.append(Rate(TITLES[measure["name"]], values, change, good, float(measure["p_value"])))
    return found


def lines(project: Project, runs: Sequence[EvalRun], tokens: Sequence[Mapping[str, Any] | None] = ()) -> list[Line]:
    """Time, throughput, length and money of runs, A and B first. ``tokens``: spread of the tokens written for each
    document, where it is known better than from the sum.
    """
    constraints = project.contract.constraints
    currency = str(constraints.get("currency") or "")
    costs = [cost_of(run, constraints) for run in runs]
    lengths = [_length(run, told) for run, told in zip(runs, [*tokens, *[None] * len(runs)], strict=False)]
    found = [
        Line("Latency p50 · p95", tuple(map(_latency, runs)), _change([run.latency.get("p50") for run in runs])),
        _line("Documents per second", [run.facts.get("docs_per_second") for run in runs], lambda rate: f"{rate:.2f}"),
        _line("Tokens written per document", lengths, lambda length: f"{length:.0f}"),
    ]
    if any(run.facts.get("peak_memory_bytes") for run in runs):
        found.append(_line("Peak memory", [run.facts.get("peak_memory_bytes") for run in runs], memory))
    if any(cost.thousand is not None for cost in costs):
        values = tuple(cost.why if cost.thousand is None else _money(cost.thousand, currency) for cost in costs)
        found.append(Line("1,000 documents cost", values, _change([cost.thousand for cost in costs])))
    return found


def _latency(run: EvalRun) -> str:
    if run.latency.get("p50") is None:
        return "–"
    said = f"{milliseconds(run.latency['p50'])} · {milliseconds(run.latency['p95'])}"
    if run.at_once > 1:
        said += f", {run.at_once} at once"
    return f"{said}, as first measured" if run.rescored_from_id is not None else said


def _length(run: EvalRun, told: Mapping[str, Any] | None) -> float | None:
    if told and told.get("mean") is not None:
        return float(told["mean"])
    written, documents = run.facts.get("output_tokens"), run.scores.get("documents")
    return written / documents if written is not None and documents else None


def _line(title: str, values: Sequence[Any], words: Callable[[Any], str]) -> Line:
    return Line(title, tuple("–" if value is None else words(value) for value in values), _change(values))


def _change(values: Sequence[Any]) -> str:
    """How the second number stands to the first, in per cent; "" where that says nothing."""
    if len(values) < 2 or not values[0] or values[1] is None:
        return ""
    share = 100 * (float(values[1]) / float(values[0]) - 1)
    return f"{share:+,.0f} %".replace("-", "−") if round(share) else "0 %"


def _money(value: float, currency: str) -> str:
    return f"{money(value)} {currency}".strip()
