"""The page that compares evaluations: two of them document by document, more as a matrix."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from evaluation.comparison import document_page as listing
from evaluation.comparison.document_filter import STATES, DocumentColumns
from evaluation.comparison.figures import differences, lines, production_baseline, production_baseline_note, rates
from evaluation.comparison.matrix import MAX_RUNS, MIN_RUNS, build_matrix
from evaluation.comparison.regressions import SIGNIFICANCE_LEVEL, document_p, improvements, regressions, sample_note
from evaluation.comparison.regressions import fields as adjusted_fields
from evaluation.comparison.report import comparison_markdown, matrix_report, report, shown_modes, suite
from evaluation.comparison.services import get_or_create_comparison
from evaluation.models import EvalRun
from evaluation.regression_suite import services as regression_suite_services
from evaluation.scores.slice_selector import Slice
from labeling.failure_tags import title_of
from labeling.models import Project
from slmstudio.access import Action, project_for
from slmstudio.contract.json_text import dumps
from slmstudio.contract.scoring.scorer import ERROR_LABELS
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, query_param

FILTERS = ("state", "field", "error", "in", "tag", "slice", "gold")
WORDS = {
    "broken": ("Regressed", "Correct in A, wrong in B"),
    "fixed": ("Improved", "Wrong in A, correct in B"),
    "still_wrong": ("Wrong in both", "Wrong in A and B"),
    "still_right": ("Correct in both", "Correct in A and B"),
}


class InvalidSelection(Exception):
    """The query string selects nothing that can be compared; the message says what to do."""


@require_safe
def comparison(request: SignedInRequest, slug: str) -> HttpResponse:
    """A and B: ``?runs=3,5``, and filters by state, field, error, tag and slice. ``?runs=3,5,7``: a matrix."""
    project = project_for(request.user, slug, Action.READ)
    try:
        numbers = _numbers(request)
        if request.GET.getlist("runs") != [",".join(numbers)]:
            return redirect(f"{reverse('comparison', args=[slug])}?runs={','.join(numbers)}")
        runs = _runs(project, numbers)
        if len(runs) > 2:
            context = {"project": project, "table": build_matrix(project=project, runs=runs), "numbers": numbers}
            return render(request, "evaluation/comparison/matrix.html", context)
        return _pair(request, project, *runs)
    except (InvalidSelection, Refused) as problem:
        context = {"project": project, "problem": str(problem)}
        return render(request, "evaluation/comparison/empty.html", context, status=422)


@require_safe
def comparison_json(request: SignedInRequest, slug: str) -> HttpResponse:
    """The comparison as a file: figures, fields, failure modes, and the state of every document."""
    content = _report(request, slug)
    return (
        content
        if isinstance(content, HttpResponse)
        else _file(request, slug, dumps(content), "json", "application/json")
    )


@require_safe
def comparison_markdown_file(request: SignedInRequest, slug: str) -> HttpResponse:
    """The comparison as Markdown."""
    content = _report(request, slug)
    if isinstance(content, HttpResponse):
        return content
    return _file(request, slug, comparison_markdown(content), "md", "text/markdown; charset=utf-8")


@require_POST
def pin_fixed(request: SignedInRequest, slug: str) -> HttpResponse:
    """Pins the documents that B fixed."""
    project = project_for(request.user, slug, Action.PROPOSE_POLICY)
    try:
        numbers = _numbers(request)
        a, b = _runs(project, numbers[:2])
        if not _outputs_visible(a, b):
            raise InvalidSelection("The outputs of hold-out evaluations are not open.")
        names = get_or_create_comparison(a=a, b=b).result["fixed"]
        count = regression_suite_services.pin_all(
            project=project, names=names, user=request.user, reason=f"fixed in evaluation {b.number}"
        )
    except (InvalidSelection, Refused) as problem:
        context = {"project": project, "problem": str(problem)}
        return render(request, "evaluation/comparison/empty.html", context, status=422)
    messages.success(request, f"{count} document{'' if count == 1 else 's'} pinned.")
    return redirect(f"{reverse('comparison', args=[slug])}?runs={a.number},{b.number}")


def _report(request: SignedInRequest, slug: str) -> Any:
    """The report of the selected runs, or an error response."""
    project = project_for(request.user, slug, Action.READ)
    try:
        runs = _runs(project, _numbers(request))
        if len(runs) > 2:
            return matrix_report(project, build_matrix(project=project, runs=runs))
        a, b = runs
        return report(project=project, comparison=get_or_create_comparison(a=a, b=b), a=a, b=b)
    except (InvalidSelection, Refused) as problem:
        return HttpResponse(f"{problem}\n", status=422, content_type="text/plain; charset=utf-8")


def _file(request: SignedInRequest, slug: str, text: str, ending: str, kind: str) -> HttpResponse:
    name = f"{slug}-comparison-{'-'.join(_numbers(request))}.{ending}"
    return HttpResponse(text, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _numbers(request: SignedInRequest) -> list[str]:
    filters = ",".join(request.GET.getlist("runs"))
    numbers = list(dict.fromkeys(part.strip() for part in filters.split(",") if part.strip()))
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in numbers) or len(numbers) < 2:
        raise InvalidSelection("Select two evaluations to compare, or more for a matrix.")
    if len(numbers) > MAX_RUNS:
        raise InvalidSelection(f"Select {MIN_RUNS} to {MAX_RUNS} evaluations.")
    return numbers


def _runs(project: Any, numbers: list[str]) -> list[EvalRun]:
    rows = project.eval_runs.filter(number__in=numbers).with_model()
    by_number = {str(run.number): run for run in rows.select_related("dataset__schema_version")}
    if any(number not in by_number for number in numbers):
        raise Http404("Evaluation not found.")
    return [by_number[number] for number in numbers]


def _pair(request: SignedInRequest, project: Project, a: EvalRun, b: EvalRun) -> HttpResponse:
    result = get_or_create_comparison(a=a, b=b).result
    context = {"project": project, "a": a, "b": b, "runs": f"{a.number},{b.number}", "result": result}
    context["is_open"] = _outputs_visible(a, b)
    if context["is_open"]:
        context.update(_documents(request, project, a, b, result))
    if is_htmx(request):
        return render(request, "evaluation/comparison/comparison.html#documents", context)
    production = production_baseline(a, b)
    pinned = suite(project, a, b)
    runs = [a, b] if production is None else [a, b, production]
    p_adjusted = document_p(result)
    context.update(
        today=production,
        suite=pinned,
        regressions=regressions(result, pinned["broken"]),
        gains=improvements(result),
        basis=sample_note(result),
        today_note=production_baseline_note(b, production),
        p_adjusted=p_adjusted,
        significant=p_adjusted is not None and p_adjusted < SIGNIFICANCE_LEVEL,
        bar=_bar(result),
        fields=_fields(result),
        rates=rates(result, production),
        differences=differences(result, production),
        lines=lines(project, runs, [result["tokens"]["a"], result["tokens"]["b"]]),
        errors=_errors(result),
        modes=_modes(project, shown_modes(result, a, b)),
    )
    return render(request, "evaluation/comparison/comparison.html", context)


def _outputs_visible(*runs: EvalRun) -> bool:
    return all(run.outputs_visible for run in runs)


def _bar(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The four states with their counts, and their start on a bar of 100."""
    parts, left = [], 0.0
    for state in STATES:
        count = result["counts"][state]
        width = 100 * count / result["n"]
        words, hint = WORDS[state]
        parts.append({"state": state, "words": words, "hint": hint, "count": count, "width": width, "left": left})
        left += width
    return parts


def _fields(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The table per field; the largest drop first."""
    rows = []
    for row in adjusted_fields(result):
        a, b = row["a_right"] / row["n"], row["b_right"] / row["n"]
        significant = row["p_adjusted"] is not None and row["p_adjusted"] < SIGNIFICANCE_LEVEL
        rows.append({**row, "a": a, "b": b, "change": b - a, "significant": significant})
    return sorted(rows, key=lambda row: (row["change"], row["field"]))


def _errors(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Error types with their fields in A and B; the largest increase first."""
    rows = [
        {"kind": kind, "words": ERROR_LABELS.get(kind, kind), "a": a, "b": b, "more": b - a, "minus": f"−{a - b}"}
        for kind, (a, b, _, _) in result["errors"].items()
    ]
    return sorted(rows, key=lambda row: (-row["more"], row["kind"]))


def _modes(project: Project, modes: list[dict[str, Any]]) -> dict[str, Any]:
    """Failure tags and metadata slices before and after, with title and filter of each."""
    rows = [
        {
            **row,
            "title": f"{row['key']}: {row['value']}" if row["key"] else title_of(project, row["value"]),
            "slice": str(Slice(key=row["key"], value=row["value"])) if row["key"] else "",
            "significant": row["p_adjusted"] < SIGNIFICANCE_LEVEL,
        }
        for row in modes
    ]
    return {
        "tags": [row for row in rows if row["kind"] == "tag"],
        "metadata": [row for row in rows if row["kind"] != "tag"],
    }


def _documents(
    request: SignedInRequest, project: Project, a: EvalRun, b: EvalRun, result: dict[str, Any]
) -> dict[str, Any]:
    """The list of documents for the query string, and its filters."""
    filters = {name: query_param(request, name) for name in FILTERS}
    cases = DocumentColumns.of(result["cases"])
    pinned = regression_suite_services.pinned_documents(project)
    page, documents = listing.page_of_documents(
        cases, listing.parse_filter(filters), a=a, b=b, pinned=pinned, number=request.GET.get("page")
    )
    return {
        "page": page,
        "cases": documents,
        "states": {state: WORDS[state][0] for state in STATES},
        "filters": filters,
        "filtered": any(filters.values()),
        "tags": [(tag, title_of(project, tag)) for tag in cases.tags],
        "slices": [(str(part), part.words) for part in (Slice(key=k, value=v) for k, v, _ in cases.slices())],
        "kinds": [(kind, ERROR_LABELS.get(kind, kind)) for kind in result["errors"]],
        "patterns": [row["field"] for row in result["fields"]],
        "golds": cases.gold.count("1"),
        # Only where the list shows exactly what would be pinned.
        "pinnable": [name for name in FILTERS if filters[name]] == ["state"]
        and filters["state"] == "fixed"
        and 0 < result["counts"]["fixed"] <= regression_suite_services.MAX_PINS,
    }
