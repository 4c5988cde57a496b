"""The report of a comparison as JSON-ready data, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.comparison.document_filter import DocumentColumns
from evaluation.comparison.figures import differences, lines, production_baseline, production_baseline_note, rates
from evaluation.comparison.matrix import ComparisonMatrix
from evaluation.comparison.regressions import (
    document_p,
    fields,
    improvements,
    measures,
    regressions,
    sample_note,
    shared_gold_result,
)
from evaluation.models import Comparison, EvalRun
from evaluation.regression_suite import services as regression_suite_services
from evaluation.runs.summary import is_shown
from evaluation.runs.tasks import describe_setup
from labeling.models import Document, Project
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.web.markdown import render_markdown


def suite(project: Project, a: EvalRun, b: EvalRun) -> dict[str, Any]:
    """Results on the pinned documents: counts of both, and the names of those that B has wrong."""
    standings = regression_suite_services.suite_results(project, [a, b])
    before, after = standings[a.pk], standings[b.pk]
    names = dict(Document.objects.filter(pk__in=after.broken).values_list("pk", "external_id")) if after.broken else {}
    right_before = set(before.right)
    return {
        "a": before,
        "b": after,
        "broken": sorted(names.values()),
        "newly": sorted(names[key] for key in after.broken if key in right_before),
    }


def report(*, project: Project, comparison: Comparison, a: EvalRun, b: EvalRun, any_document: bool = False) -> Any:
    """The content of the page and the state of every document (none of a hold-out that is not open). Written by
    ``dumps``."""
    result = comparison.result
    cases, pinned, production = DocumentColumns.of(result["cases"]), suite(project, a, b), production_baseline(a, b)
    runs = [a, b] if production is None else [a, b, production]
    return {
        "project": project.slug,
        "a": _run(a),
        "b": _run(b),
        "today": None if production is None else _run(production),
        "documents": result["n"],
        "judged": shared_gold_result(result)["n"],
        "notes": [*result["notes"], *filter(None, [production_baseline_note(b, production)])],
        "basis": sample_note(result),
        "regressions": regressions(result, pinned["broken"], any_document=any_document),
        "gains": improvements(result),
        "counts": result["counts"],
        "p_adjusted": document_p(result),
        "measures": measures(result),
        "rates": rates(result, production),
        "figures": [
            {"title": line.title, "values": list(line.values), "change": line.change}
            for line in lines(project, runs, [result["tokens"]["a"], result["tokens"]["b"]])
        ],
        "tokens": result["tokens"],
        "fields": fields(result),
        "errors": {
            kind: dict(zip(("fields_a", "fields_b", "documents_a", "documents_b"), counts, strict=True))
            for kind, counts in result["errors"].items()
        },
        "failure_modes": shown_modes(result, a, b),
        "pinned": _pinned(pinned),
        "differences": differences(result, production),
        "cases": _cases(cases) if a.outputs_visible and b.outputs_visible else [],
    }


def shown_modes(result: Mapping[str, Any], a: EvalRun, b: EvalRun) -> list[dict[str, Any]]:
    """The failure modes of a comparison that may be shown: on a hold-out that is not open those with many documents."""
    return [row for row in result["modes"] if is_shown(row["n"], a, b)]


def _pinned(pinned: Mapping[str, Any]) -> dict[str, Any]:
    counts = {
        side: {
            "right": len(pinned[side].right),
            "broken": len(pinned[side].broken),
            "unchecked": pinned[side].unchecked,
        }
        for side in ("a", "b")
    }
    return {"pinned": pinned["b"].pinned, **counts, "broken": pinned["broken"], "newly_broken": pinned["newly"]}


def _run(run: EvalRun) -> dict[str, Any]:
    return {
        "number": run.number,
        "model": run.model_label,
        "mode": run.mode if run.backend.decodes else run.backend.kind,
        "how": describe_setup(run),
        "documents": run.scores.get("documents"),
        "latency_ms": {name: run.latency.get(name) for name in ("p50", "p95", "p99")},
        "concurrency": run.concurrency,
        "docs_per_second": run.facts.get("docs_per_second"),
        "outputs_sha256": run.outputs_sha256,
        "scorer_version": run.scorer_version,
        "rescored_from": None if run.rescored_from is None else run.rescored_from.number,
    }


def _cases(cases: DocumentColumns) -> list[dict[str, Any]]:
    """A row for every document, broken first; ``fields`` are those that are not right in both."""
    words = {"b": "broken", "f": "fixed", "w": "still_wrong", "r": "still_right"}
    return [
        {
            "id": key,
            "state": words[cases.state[place]],
            "fields": cases.changed(place),
            "tags": [tag for tag, column in cases.tags.items() if column[place] == "1"],
        }
        for place, key in enumerate(cases.keys)
    ]


def matrix_report(project: Project, table: ComparisonMatrix) -> dict[str, Any]:
    """Several runs as JSON-ready data; ``pairs`` compares the later of two runs with the earlier. Pairs, ``best`` and
    ``document_exact`` use the documents with one gold label (``judged`` of the ``documents``).

    The current production model (``today``), if there is one, comes last among the values of rates and figures.
    """
    runs: Sequence[EvalRun] = table.runs
    return {
        "project": project.slug,
        "runs": [_run(run) for run in runs],
        "today": None if table.today is None else _run(table.today),
        "documents": table.documents,
        "judged": table.pairwise.n,
        "notes": list(table.notes),
        "document_exact": list(table.exact),
        "own_rates": [{"title": title, "values": list(values)} for title, values in table.own],
        "figures": [{"title": line.title, "values": list(line.values)} for line in table.lines],
        "fields": [{"field": name, "values": list(values)} for name, values, _ in table.fields],
        "pairs": [
            {"a": runs[first].number, "b": runs[other].number, **pair.as_dict()}
            for (first, other), pair in table.pairwise.pairs.items()
            if first < other
        ],
        "best": [run.number for run in table.best],
        "pinned": [
            {"right": len(result.right), "broken": len(result.broken), "unchecked": result.unchecked}
            for result in table.suite
        ],
    }


#: broken documents listed by name
LISTED = 50
_READINGS = {
    "better": "better",
    "worse": "worse",
    "luck": "not significantly different",
    "same": "the same",
    "unjudged": "no verdict",
}


def comparison_markdown(report: Mapping[str, Any]) -> str:
    """``report``: JSON-ready data of ``evaluation.comparison.report``, of two runs or a matrix of several."""
    if "pairs" in report:
        pairs = [{**pair, "reading": _READINGS[pair["reading"]]} for pair in report["pairs"]]
        any_pinned = any(result["right"] or result["broken"] or result["unchecked"] for result in report["pinned"])
        return render_markdown("evaluation/comparison/matrix.md", {**report, "pairs": pairs, "any_pinned": any_pinned})
    errors = sorted(report["errors"].items(), key=lambda pair: (-pair[1]["fields_b"], pair[0]))
    broken = [case for case in report["cases"] if case["state"] == "broken"]
    context = {
        **report,
        "errors": [(ERROR_LABELS.get(kind, kind), counts) for kind, counts in errors],
        "broken": broken[:LISTED],
        "more_broken": max(0, len(broken) - LISTED),
        "pinned_broken": report["pinned"]["broken"][:LISTED],
    }
    return render_markdown("evaluation/comparison/comparison.md", context)
