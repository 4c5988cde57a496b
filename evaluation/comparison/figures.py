"""The head of a comparison: figures of A and B side by side, and those of the large model that does the job today."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Exists, OuterRef, Q, Value, When

from evaluation.benchmarks.results import cost_of
from evaluation.comparison.regressions import TITLES, measures
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs.model_under_test import how
from evaluation.scores.failure_modes import mixed
from evaluation.templatetags.evaluation import right_fields
from evaluation.templatetags.gating import cash
from labeling.models import Project, Split
from slmstudio.runs.models import Status
from slmstudio.templatetags.studio import memory, milliseconds


@dataclass(frozen=True)
class Rate:
    """A line with a rate for each run; ``change`` is B's less A's, ``p_adjusted`` of ``better`` and ``worse`` documents
    as ``evaluation.comparison.regressions.measures`` has it.

    ``mixed``: the rate went one way, and most documents that moved went another or neither.
    """

    title: str
    values: tuple[Mapping[str, Any], ...]
    change: float
    good: bool
    p_adjusted: float | None
    better: int
    worse: int
    mixed: bool


@dataclass(frozen=True)
class Line:
    """A line with a text for each run, and how B's number stands to A's: "−38 %"."""

    title: str
    values: tuple[str, ...]
    change: str = ""


def today(*runs: EvalRun) -> EvalRun | None:
    """The newest evaluation of a model elsewhere on the documents of the last of these runs; None where there is none,
    or one of them is such a model's. One by the very labels of the last run comes before one by others, of which
    ``today_note`` tells.

    It shows what it costs to stay as one is.
    """
    if any(run.endpoint_id is not None for run in runs):
        return None
    b = runs[-1]
    rows: Any = EvalRun.objects.filter(project_id=b.project_id, split=b.split, benchmark=b.benchmark_id)
    rows = rows.filter(endpoint__isnull=False, status=Status.DONE)
    if b.benchmark_id is None:
        mine = EvalOutput.objects.filter(eval_run=b).values("document")
        rows = rows.filter(Exists(EvalOutput.objects.filter(eval_run=OuterRef("pk"), document__in=mine)))
        same = Q(dataset=b.dataset_id)
        if b.split == Split.HOLDOUT:
            same |= Q(dataset__holdout_sha256=b.dataset.holdout_sha256)
        rows = rows.annotate(same=Case(When(same, then=Value(1)), default=Value(0))).order_by("-same", "-number")
    else:
        rows = rows.order_by("-number")
    # In two queries: to plan the joins of its name takes longer than to see that there is mostly none.
    key = rows.values_list("pk", flat=True).first()
    return None if key is None else EvalRun.objects.with_subject().get(pk=key)


def today_note(b: EvalRun, beside: EvalRun | None) -> str:
    """What is to be known of the model of today where it was scored by other labels than B; "" otherwise."""
    if beside is None or b.benchmark_id is not None or beside.dataset_id == b.dataset_id:
        return ""
    if b.split == Split.HOLDOUT and beside.dataset.holdout_sha256 == b.dataset.holdout_sha256:
        return ""
    return (
        f"The model of today ({beside.short_name}) was scored by {beside.dataset}, so some of its documents and labels "
        f"are others. Score it again by {b.dataset}."
    )


def rates(result: Mapping[str, Any], beside: EvalRun | None) -> list[Rate]:
    """Rates on the documents that A and B share; those of the run beside them are over its own."""
    found = []
    for measure in measures(result):
        a, b = measure["a"], measure["b"]
        if not (a["n"] and b["n"]):
            continue
        change = float(b["rate"]) - float(a["rate"])
        values = (a, b) if beside is None else (a, b, own_rate(beside, measure["name"]))
        gain = change if measure["good_is_up"] else -change
        better, worse = measure["better"], measure["worse"]
        found.append(
            Rate(
                title=TITLES[measure["name"]],
                values=values,
                change=change,
                good=gain > 0,
                p_adjusted=measure["p_adjusted"],
                better=better,
                worse=worse,
                mixed=mixed(gain, better, worse),
            )
        )
    return found


def differences(result: Mapping[str, Any], beside: EvalRun | None) -> list[dict[str, str]]:
    """In what A and B were made otherwise: ``name``, ``a``, ``b``; and ``today`` where there is a model of today."""
    found = [dict(zip(("name", "a", "b"), row, strict=True)) for row in result["differences"]]
    if beside is None:
        return found
    third = how(beside)
    return [{**row, "today": third.get(row["name"], "–")} for row in found]


def own_rate(run: EvalRun, name: str) -> Mapping[str, Any]:
    """A rate of a run over its own documents; that of fields with the interval of documents, where it is known."""
    return right_fields(run) if name == "field_exact" else run.scores.get(name) or {}


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
    return f"{cash(value)} {currency}".strip()
