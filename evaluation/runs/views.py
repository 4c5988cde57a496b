"""The page of one evaluation: progress, scores, errors, every output."""

from dataclasses import replace
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from evaluation.http import set_project
from evaluation.models import EvalOutput, EvalRun
from evaluation.regression_suite import services as regression_suite_services
from evaluation.runs import rescoring, throughput
from evaluation.runs.decoding_modes import by_decoding_mode
from evaluation.runs.resource_views import context_of
from evaluation.runs.slices import MIN_HOLDOUT_DOCUMENTS, is_shown
from evaluation.scores.display import OUTCOME_LABELS, ConfusionMatrix, confusion_matrices, score_rows
from labeling.failure_tags import title_of
from slmstudio.access import Action, object_for
from slmstudio.contract.scoring.scorer import ERROR_LABELS, SCORER_VERSION, wilson
from slmstudio.contract.scoring.slice_scores import OTHER
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.web.requests import SignedInRequest, is_htmx, query_param

PAGE = 25
#: characters of a raw output that a page shows; all of it is in the file
MAX_SHOWN_CHARACTERS = 20_000
STATES = [
    ("exact", "Exact match"),
    ("inexact", "Not an exact match"),
    ("valid", "Schema-valid"),
    ("invalid", "Invalid"),
    ("failed", "No response"),
    ("no_json", "Not a JSON object"),
    ("missing_required", "Missing required field"),
    ("extra_keys", "Extra field"),
    ("rules", "Violated rule"),
    ("hallucinated", "Hallucinated value"),
]
FILTERS = ("state", "field", "outcome", "error", "tag", "q", "gold", "predicted", "where")


def _runs() -> Any:
    return EvalRun.objects.with_model().select_related(
        "project", "dataset__schema_version", "model_version__training_run", "benchmark", "rescored_from__dataset"
    )


@require_safe
def run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One evaluation. Its fragments: ``live`` while it runs, ``outputs`` for a filtered list."""
    project, found = object_for(request.user, slug, Action.READ, _runs(), number=number)
    set_project(project, found.dataset, found.training_run, found.benchmark)
    part = is_htmx(request)
    if part and request.GET.get("part") == "live":
        if not found.is_live:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return render(
            request,
            "evaluation/runs/run.html#live",
            {"project": project, "run": found, "slow": throughput.slow_run_warning(found), **partial_rates(found)},
        )
    context: dict[str, Any] = {"project": project, "run": found, **outputs_context(request, found)}
    if part and not found.outputs_visible:
        return HttpResponse(headers={"HX-Refresh": "true"})
    if part:
        return render(request, "evaluation/runs/run.html#outputs", context)
    context.update(partial_rates(found) if found.is_live else tables(found))
    context["slow"] = throughput.slow_run_warning(found)
    context["others"] = _comparable_runs(found)
    context["model_key"] = found.backend.choice_key
    if found.status == Status.DONE:
        context["decoding_modes"] = by_decoding_mode(found)
        context |= context_of(found)
        context["cost_of_1000"] = 1000 * (found.facts.get("cost_per_document") or 0)
    context["scorer"] = SCORER_VERSION
    context["least_documents"] = MIN_HOLDOUT_DOCUMENTS
    context["rescored"] = rescoring.page(found)
    context["suite"] = regression_suite_services.suite_result(found)
    context["reports"] = list(found.gate_reports.order_by("-number"))
    set_project(project, *context["reports"])
    return render(request, "evaluation/runs/run.html", context)


def partial_rates(found: EvalRun) -> dict[str, Any]:
    """The rates of the stored outputs while a run is live; empty if they may not be shown."""
    if not found.outputs_visible:
        return {}
    counts = EvalOutput.objects.filter(eval_run=found).aggregate(
        n=Count("pk"), valid=Count("pk", filter=Q(valid=True)), exact=Count("pk", filter=Q(exact=True))
    )
    return {"valid": wilson(counts["valid"], counts["n"]), "exact": wilson(counts["exact"], counts["n"])}


def tables(found: EvalRun) -> dict[str, Any]:
    """The tables of a finished run, in page order."""
    scores = found.scores
    errors = sorted(scores.get("errors", {}).items(), key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in errors)
    compiled = found.dataset.schema_version.compiled
    per_field = scores.get("per_field", {})
    fields = [(field, per_field[field.pattern]) for field in compiled.fields if field.pattern in per_field]
    slices = _shown(found, scores.get("slices", {}))
    places: dict[str, Any] = {key: _shown(found, values) for key, values in found.facts.get("slices", {}).items()}
    return {
        "errors": [(kind, ERROR_LABELS.get(kind, kind), count, 100 * count / total) for kind, count in errors],
        "fields": [(field, value, _outcomes(value)) for field, value in fields],
        "slices": [(tag, title_of(found.project, tag), value) for tag, value in _worst_first(slices)],
        "families": found.facts.get("families"),
        "places": [(key, _catch_all_last(values)) for key, values in places.items() if values],
        "unplaced": sorted(key for key, values in places.items() if not values),
        "classes": [_shown_classes(found, table) for table in confusion_matrices(scores)],
    }


def _shown(found: EvalRun, values: dict[str, Any]) -> dict[str, Any]:
    """The slices whose figures may be shown."""
    return {name: value for name, value in values.items() if is_shown(value["documents"], found)}


def _shown_classes(found: EvalRun, table: ConfusionMatrix) -> tuple[ConfusionMatrix, Any]:
    """A confusion matrix and its rows; of a hold-out that is not open only the classes with many documents."""
    if found.outputs_visible:
        return table, _pairs(table)
    rows = tuple(row for row in table.rows if is_shown(row.figures["n"], found))
    return replace(table, rows=rows, matrix=()), []


def _worst_first(slices: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(slices.items(), key=lambda item: (item[1]["field_exact"]["rate"] or 0, item[0]))


def _catch_all_last(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """The slices of a metadata key, worst first, and at the end the documents with another value."""
    rows = _worst_first({name: value for name, value in values.items() if name != OTHER})
    return [*rows, (OTHER, values[OTHER])] if OTHER in values else rows


def _pairs(table: ConfusionMatrix) -> list[tuple[str, list[tuple[str, int, bool]]]]:
    """The rows of a confusion matrix: gold, and (output, count, whether it is correct)."""
    return [
        (gold, [(predicted, count, right) for predicted, (count, right) in zip(table.columns, counts, strict=True)])
        for gold, counts in table.matrix
    ]


def _outcomes(value: dict[str, Any]) -> list[tuple[str, str, int]]:
    """The wrong outcomes of a field with their labels and counts, most frequent first."""
    found = {name: n for name, n in value["outcomes"].items() if n and name not in ("correct", "both_absent")}
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return [(name, OUTCOME_LABELS.get(name, name), number) for name, number in ranked]


def filters_of(request: SignedInRequest) -> dict[str, str]:
    """The filters of the list in the query string."""
    return {name: query_param(request, name) for name in FILTERS}


def filtered_outputs(found: EvalRun, filters: dict[str, str]) -> Any:
    """The outputs of a run that match the filters, in the order of the dataset."""
    rightly = (
        filters["predicted"] != "" and filters["predicted"] == filters["gold"]
    )  # of a choice: where the output equals gold
    return (
        EvalOutput.objects.filter(eval_run=found)
        .in_state(filters["state"])
        .wrong_in("" if rightly else filters["field"])
        .with_outcome(filters["field"], filters["outcome"])
        .with_error(filters["error"])
        .tagged(filters["tag"])
        .confused_as(filters["field"], filters["gold"], filters["predicted"])
        .where(filters["where"])
        .containing(filters["q"])
        .with_documents()
    )


def outputs_context(request: SignedInRequest, found: EvalRun) -> dict[str, Any]:
    """The list of outputs for the query string, and the filters; empty where outputs may not be shown."""
    if not found.outputs_visible:
        return {}
    filters = filters_of(request)
    rows = filtered_outputs(found, filters).with_unreadable().defer("gold", "score", "raw", "document__text")
    scores = found.scores
    return {
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "filters": filters,
        "filtered": any(filters.values()),
        "outcome_label": OUTCOME_LABELS.get(filters["outcome"], filters["outcome"]),
        "states": STATES,
        "patterns": [field.pattern for field in found.dataset.schema_version.compiled.fields],
        "kinds": [(kind, ERROR_LABELS.get(kind, kind)) for kind in sorted(scores.get("errors", {}))],
        "tags": [(tag, title_of(found.project, tag)) for tag in sorted(scores.get("slices", {}))],
    }


def _comparable_runs(found: EvalRun) -> Any:
    """Finished runs on the same split, to compare with."""
    same = EvalRun.objects.filter(project_id=found.project_id, split=found.split, benchmark=found.benchmark_id)
    same = same.done().exclude(pk=found.pk)
    return same.with_model().order_by("-number")[:30]


@require_safe
def output(request: SignedInRequest, slug: str, number: int, document: int) -> HttpResponse:
    """One output: document, gold and output side by side. A fragment in the list, or a page."""
    project, found = object_for(request.user, slug, Action.READ, _runs(), number=number)
    if not found.outputs_visible:
        raise Http404("The outputs of this hold-out evaluation are not open.")
    rows = EvalOutput.objects.select_related("document")
    row = get_object_or_404(rows, eval_run=found, document_id=document)
    context = {
        "project": project,
        "run": found,
        "row": row,
        "rows": score_rows(row.score),
        "problems": (row.score or {}).get("problems", []),
        "raw": row.raw[:MAX_SHOWN_CHARACTERS],
        "more": max(0, len(row.raw) - MAX_SHOWN_CHARACTERS),
        "pinned": regression_suite_services.of_document(row.document) is not None,
    }
    if is_htmx(request):
        return render(request, "evaluation/runs/output.html#detail", context)
    ids = list(filtered_outputs(found, filters_of(request)).values_list("document_id", flat=True))
    place = ids.index(document) if document in ids else None
    if place is not None:
        context["place"], context["of"] = place + 1, len(ids)
        context["before"] = ids[place - 1] if place else None
        context["after"] = ids[place + 1] if place + 1 < len(ids) else None
    return render(request, "evaluation/runs/output.html", context)


@require_safe
def download(request: SignedInRequest, slug: str, number: int) -> Any:
    """The file of raw outputs, as it was written."""
    project, found = object_for(request.user, slug, Action.READ, EvalRun, number=number)
    path = artifacts.local_path(found.outputs_key)
    if not found.outputs_sha256 or not found.outputs_visible or not path.is_file():
        raise Http404("This evaluation has no output file.")
    name = f"{project.slug}-evaluation-{found.number}.jsonl"
    return FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/x-ndjson")
