"""The figures of a comparison: A, B, and the current production model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Exists, OuterRef, Q, Value, When

from evaluation.benchmarks.results import cost_of
from evaluation.comparison.regressions import TITLES, measures
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs.tasks import describe_setup
from evaluation.scores.rates import is_mixed
from evaluation.templatetags.evaluation import field_accuracy_rate
from labeling.models import Project, Split
from slmstudio.runs.models import Status
from slmstudio.text.formatting import format_bytes, format_money, milliseconds, number, points


@dataclass(frozen=True)
class TextLine:
    """A text for each run, and the relative change from A to B: "−38%"."""

    title: str
    values: tuple[str, ...]
    change: str = ""


def production_baseline(*runs: EvalRun) -> EvalRun | None:
    """The newest evaluation of an external model on the documents of the last of these runs, as the current production
    model; None if there is none, or one of the runs is of an external model. One with the labels of the last run is
    preferred to others, for which ``production_baseline_note`` has a note.
    """
    if any(run.backend.is_external for run in runs):
        return None
    b = runs[-1]
    rows = EvalRun.objects.filter(project_id=b.project_id, split=b.split, benchmark=b.benchmark_id)
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
    # In two queries: planning the joins of its label takes longer than finding that there is none, which is usual.
    key = rows.values_list("pk", flat=True).first()
    return None if key is None else EvalRun.objects.with_model().get(pk=key)


def production_baseline_note(b: EvalRun, production: EvalRun | None) -> str:
    """A note where the current production model was scored with other labels than B; "" otherwise."""
    if production is None or b.benchmark_id is not None or production.dataset_id == b.dataset_id:
        return ""
    if b.split == Split.HOLDOUT and production.dataset.holdout_sha256 == b.dataset.holdout_sha256:
        return ""
    return (
        f"Current production model ({production.short_name}) was scored with {production.dataset}, so some "
        f"documents and labels differ. Re-score it with {b.dataset}."
    )


def rates(result: Mapping[str, Any], production: EvalRun | None) -> list[dict[str, Any]]:
    """Rates on the documents that A and B share; those of the production model are over its own.

    ``change`` is B minus A; ``p_adjusted`` of ``better`` and ``worse`` documents is that of
    ``evaluation.comparison.regressions.measures``. ``mixed``: the rate and most changed documents point in different
    directions.
    """
    table = []
    for measure in measures(result):
        a, b = measure["a"], measure["b"]
        if not (a["n"] and b["n"]):
            continue
        change = float(b["rate"]) - float(a["rate"])
        values = (a, b) if production is None else (a, b, own_rate(production, measure["name"]))
        gain = change if measure["good_is_up"] else -change
        better, worse = measure["better"], measure["worse"]
        table.append(
            {
                "title": TITLES[measure["name"]],
                "values": values,
                "change": change,
                "good": gain > 0,
                "p_adjusted": measure["p_adjusted"],
                "better": better,
                "worse": worse,
                "mixed": is_mixed(gain, better, worse),
            }
        )
    return table


def differences(result: Mapping[str, Any], production: EvalRun | None) -> list[dict[str, str]]:
    """The setup differences of A and B: ``name``, ``a``, ``b``, and ``today`` of the current production model."""
    rows = [dict(zip(("name", "a", "b"), row, strict=True)) for row in result["differences"]]
    if production is None:
        return rows
    third = describe_setup(production)
    return [{**row, "today": third.get(row["name"], "–")} for row in rows]


def own_rate(run: EvalRun, name: str) -> Mapping[str, Any]:
    """A rate of a run over its own documents; field accuracy with its interval over documents, where known."""
    return field_accuracy_rate(run) if name == "field_exact" else run.scores.get(name) or {}


def lines(project: Project, runs: Sequence[EvalRun], tokens: Sequence[Mapping[str, Any] | None] = ()) -> list[TextLine]:
    """Latency, throughput, output length and cost of runs, A and B first. ``tokens``: distribution of output tokens per
    document, where it is known.
    """
    constraints = project.contract.constraints
    currency = str(constraints.get("currency") or "")
    costs = [cost_of(run, constraints) for run in runs]
    lengths = [_length(run, length) for run, length in zip(runs, [*tokens, *[None] * len(runs)], strict=False)]
    table = [
        TextLine("Latency p50 · p95", tuple(map(_latency, runs)), _change([run.latency.get("p50") for run in runs])),
        _line("Documents per second", [run.facts.get("docs_per_second") for run in runs], lambda rate: number(rate, 2)),
    ]
    if any(length is not None for length in lengths):
        table.append(_line("Output tokens per document", lengths, number))
    if any(run.facts.get("peak_memory_bytes") for run in runs):
        table.append(_line("Peak memory", [run.facts.get("peak_memory_bytes") for run in runs], format_bytes))
    if any(cost.per_thousand is not None for cost in costs):
        values = tuple(
            cost.reason if cost.per_thousand is None else format_money(cost.per_thousand, currency) for cost in costs
        )
        table.append(TextLine("Cost per 1,000 documents", values, _change([cost.per_thousand for cost in costs])))
    return table


def _latency(run: EvalRun) -> str:
    if run.latency.get("p50") is None:
        return "–"
    text = f"{milliseconds(run.latency['p50'])} · {milliseconds(run.latency['p95'])}"
    if run.concurrency > 1:
        text += f", concurrency {run.concurrency}"
    return f"{text}, of the first evaluation" if run.rescored_from_id is not None else text


def _length(run: EvalRun, tokens: Mapping[str, Any] | None) -> float | None:
    if not run.backend.decodes:
        return None
    if tokens and tokens.get("mean") is not None:
        return float(tokens["mean"])
    written, documents = run.facts.get("output_tokens"), run.scores.get("documents")
    return written / documents if written is not None and documents else None


def _line(title: str, values: Sequence[Any], words: Callable[[Any], str]) -> TextLine:
    return TextLine(title, tuple("–" if value is None else words(value) for value in values), _change(values))


def _change(values: Sequence[Any]) -> str:
    """The relative change from the first to the second number; "" if there is none."""
    if len(values) < 2 or not values[0] or values[1] is None:
        return ""
    share = 100 * (float(values[1]) / float(values[0]) - 1)
    return f"{points(share / 100, 0)}%"
