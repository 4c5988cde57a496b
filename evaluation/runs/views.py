"""The pages of evaluations: their list, a new one, and one with progress, scores, errors and every output."""

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.http import set_project
from evaluation.models import EvalRun, GateReport
from evaluation.regression_suite import services as regression_suite_services
from evaluation.runs import rescoring, resources, services, throughput
from evaluation.runs.forms import EvaluationForm
from evaluation.runs.summary import MIN_HOLDOUT_DOCUMENTS, is_shown
from evaluation.scores.display import OUTCOME_LABELS, ConfusionMatrix, confusion_matrices, score_rows
from labeling.failure_tags import title_of
from labeling.models import Split
from slmstudio.access import Action, object_for, project_for
from slmstudio.contract.scoring.scorer import ERROR_LABELS, SCORER_VERSION, wilson
from slmstudio.contract.scoring.summary import OTHER
from slmstudio.runs import controls
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from slmstudio.web.forms import FieldErrors, RefusalMessage
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, positive_int, query_param, redirect_to

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


def _run_of(request: SignedInRequest, slug: str, number: int) -> tuple[Any, EvalRun]:
    project = project_for(request.user, slug, Action.READ)
    rows = project.eval_runs.with_model().select_related(
        "dataset__schema_version", "model_version__training_run", "benchmark", "rescored_from__dataset"
    )
    return project, get_object_or_404(rows, number=number)


@require_safe
def run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One evaluation. Its fragments: ``live`` while it runs, ``outputs`` for a filtered list."""
    project, eval_run = _run_of(request, slug, number)
    set_project(project, eval_run.dataset, eval_run.training_run, eval_run.benchmark)
    part = is_htmx(request)
    if part and request.GET.get("part") == "live":
        if not eval_run.is_live:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return render(
            request,
            "evaluation/runs/run.html#live",
            {
                "project": project,
                "run": eval_run,
                "slow": throughput.slow_run_warning(eval_run),
                **partial_rates(eval_run),
            },
        )
    context: dict[str, Any] = {"project": project, "run": eval_run, **outputs_context(request, eval_run)}
    if part and not eval_run.outputs_visible:
        return HttpResponse(headers={"HX-Refresh": "true"})
    if part:
        return render(request, "evaluation/runs/run.html#outputs", context)
    context.update(partial_rates(eval_run) if eval_run.is_live else tables(eval_run))
    context["slow"] = throughput.slow_run_warning(eval_run)
    context["others"] = _comparable_runs(eval_run)
    context["model_key"] = eval_run.backend.choice_key
    if eval_run.status == Status.DONE:
        context["decoding_modes"] = by_decoding_mode(eval_run)
        context |= context_of(eval_run)
        context["cost_of_1000"] = 1000 * (eval_run.facts.get("cost_per_document") or 0)
    context["scorer"] = SCORER_VERSION
    context["least_documents"] = MIN_HOLDOUT_DOCUMENTS
    context["rescored"] = rescoring.page(eval_run)
    context["suite"] = regression_suite_services.suite_result(eval_run)
    context["reports"] = list(eval_run.gate_reports.order_by("-number"))
    set_project(project, *context["reports"])
    return render(request, "evaluation/runs/run.html", context)


def partial_rates(run: EvalRun) -> dict[str, Any]:
    """The rates of the stored outputs while a run is live; empty if they may not be shown."""
    if not run.outputs_visible:
        return {}
    counts = run.outputs.counts()
    return {"valid": wilson(counts["valid"], counts["n"]), "exact": wilson(counts["exact"], counts["n"])}


def tables(run: EvalRun) -> dict[str, Any]:
    """The tables of a finished run, in page order."""
    scores = run.scores
    errors = sorted(scores.get("errors", {}).items(), key=lambda item: (-item[1], item[0]))
    total = sum(count for _, count in errors)
    compiled = run.dataset.schema_version.compiled
    per_field = scores.get("per_field", {})
    fields = [(field, per_field[field.pattern]) for field in compiled.fields if field.pattern in per_field]
    slices = _shown(run, scores.get("slices", {}))
    places: dict[str, Any] = {key: _shown(run, values) for key, values in run.facts.get("slices", {}).items()}
    return {
        "errors": [(kind, ERROR_LABELS.get(kind, kind), count, 100 * count / total) for kind, count in errors],
        "fields": [(field, value, _outcomes(value)) for field, value in fields],
        "slices": [(tag, title_of(run.project, tag), value) for tag, value in _worst_first(slices)],
        "families": run.facts.get("families"),
        "places": [(key, _catch_all_last(values)) for key, values in places.items() if values],
        "unplaced": sorted(key for key, values in places.items() if not values),
        "classes": [_shown_classes(run, table) for table in confusion_matrices(scores)],
    }


def _shown(run: EvalRun, values: dict[str, Any]) -> dict[str, Any]:
    """The slices whose figures may be shown."""
    return {name: value for name, value in values.items() if is_shown(value["documents"], run)}


def _shown_classes(run: EvalRun, table: ConfusionMatrix) -> tuple[ConfusionMatrix, Any]:
    """A confusion matrix and its rows; of a hold-out that is not open only the classes with many documents."""
    if run.outputs_visible:
        return table, _pairs(table)
    rows = tuple(row for row in table.rows if is_shown(row.figures["n"], run))
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
    wrong = {name: n for name, n in value["outcomes"].items() if n and name not in ("correct", "both_absent")}
    ranked = sorted(wrong.items(), key=lambda item: -item[1])
    return [(name, OUTCOME_LABELS.get(name, name), number) for name, number in ranked]


def filters_of(request: SignedInRequest) -> dict[str, str]:
    """The filters of the list in the query string."""
    return {name: query_param(request, name) for name in FILTERS}


def filtered_outputs(run: EvalRun, filters: dict[str, str]) -> Any:
    """The outputs of a run that match the filters, in the order of the dataset."""
    rightly = (
        filters["predicted"] != "" and filters["predicted"] == filters["gold"]
    )  # of a choice: where the output equals gold
    return (
        run.outputs.in_state(filters["state"])
        .wrong_in("" if rightly else filters["field"])
        .with_outcome(filters["field"], filters["outcome"])
        .with_error(filters["error"])
        .tagged(filters["tag"])
        .confused_as(filters["field"], filters["gold"], filters["predicted"])
        .where(filters["where"])
        .containing(filters["q"])
        .with_documents()
    )


def outputs_context(request: SignedInRequest, run: EvalRun) -> dict[str, Any]:
    """The list of outputs for the query string, and the filters; empty where outputs may not be shown."""
    if not run.outputs_visible:
        return {}
    filters = filters_of(request)
    rows = filtered_outputs(run, filters).with_unreadable().defer("gold", "score", "raw", "document__text")
    scores = run.scores
    return {
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "filters": filters,
        "filtered": any(filters.values()),
        "outcome_label": OUTCOME_LABELS.get(filters["outcome"], filters["outcome"]),
        "states": STATES,
        "patterns": [field.pattern for field in run.dataset.schema_version.compiled.fields],
        "kinds": [(kind, ERROR_LABELS.get(kind, kind)) for kind in sorted(scores.get("errors", {}))],
        "tags": [(tag, title_of(run.project, tag)) for tag in sorted(scores.get("slices", {}))],
    }


def _comparable_runs(run: EvalRun) -> Any:
    """Finished runs on the same split, to compare with."""
    same: Any = run.project.eval_runs.filter(split=run.split, benchmark=run.benchmark_id).done().exclude(pk=run.pk)
    return same.with_model().order_by("-number")[:30]


@require_safe
def output(request: SignedInRequest, slug: str, number: int, document: int) -> HttpResponse:
    """One output: document, gold and output side by side. A fragment in the list, or a page."""
    project, eval_run = _run_of(request, slug, number)
    if not eval_run.outputs_visible:
        raise Http404("The outputs of this hold-out evaluation are not open.")
    row = get_object_or_404(eval_run.outputs.select_related("document"), document_id=document)
    context = {
        "project": project,
        "run": eval_run,
        "row": row,
        "rows": score_rows(row.score),
        "problems": (row.score or {}).get("problems", []),
        "raw": row.raw[:MAX_SHOWN_CHARACTERS],
        "more": max(0, len(row.raw) - MAX_SHOWN_CHARACTERS),
        "pinned": regression_suite_services.of_document(row.document) is not None,
    }
    if is_htmx(request):
        return render(request, "evaluation/runs/output.html#detail", context)
    ids = list(filtered_outputs(eval_run, filters_of(request)).values_list("document_id", flat=True))
    place = ids.index(document) if document in ids else None
    if place is not None:
        context["place"], context["of"] = place + 1, len(ids)
        context["before"] = ids[place - 1] if place else None
        context["after"] = ids[place + 1] if place + 1 < len(ids) else None
    return render(request, "evaluation/runs/output.html", context)


@require_safe
def download(request: SignedInRequest, slug: str, number: int) -> Any:
    """The file of raw outputs, as it was written."""
    project, eval_run = _run_of(request, slug, number)
    path = artifacts.local_path(eval_run.outputs_key)
    if not eval_run.outputs_sha256 or not eval_run.outputs_visible or not path.is_file():
        raise Http404("This evaluation has no output file.")
    name = f"{project.slug}-evaluation-{eval_run.number}.jsonl"
    return FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/x-ndjson")


def context_of(run: EvalRun, report: GateReport | None = None) -> dict[str, Any]:
    """What the fragment shows. ``fresh``: the newest measurement, where the report does not use it yet."""
    listed = resources.page(run)
    done = next((row for row in listed["rows"] if row.status == Status.DONE), None) if report else None
    rests_on = report.measurement_id if report is not None else None
    fresh = done if done is not None and done.pk != rests_on else None
    return {"run": run, "report": report, "measurements": listed, "fresh": fresh}


@require_http_methods(["GET", "HEAD", "POST"])
def measure(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Starts a measurement and shows its progress. ``?report=2``: for the page of that gate report."""
    needed = Action.RUN if request.method == "POST" else Action.READ
    project = project_for(request.user, slug, needed)
    run = get_object_or_404(project.eval_runs.with_model(), number=number)
    wanted = positive_int(request.GET.get("report"))
    report = project.gate_reports.filter(eval_run=run, number=wanted).first() if wanted else None
    page = f"{report.get_absolute_url() if report is not None else run.get_absolute_url()}#resources"
    if request.method == "POST":
        with RefusalMessage(request):
            resources.start_measurement(run=run, user=request.user)
        return redirect_to(request, page)
    if not is_htmx(request):
        return redirect(page)
    context = {"project": project, **context_of(run, report)}
    return render(request, "evaluation/runs/resources.html", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Cancels the running measurement."""
    _, run = object_for(request.user, slug, Action.RUN, EvalRun, number=number)
    live = resources.page(run)["live"]
    if live is None or not controls.cancel(run=live, user=request.user):
        messages.info(request, "The measurement has already ended.")
    return redirect(f"{run.get_absolute_url()}#resources")


LIST_PAGE = 30
ALL = "all"


@require_safe
def evaluations(request: SignedInRequest, slug: str) -> HttpResponse:
    """The evaluations of a split, newest first, to select some for a comparison: on validation, which candidates are
    chosen on. ``?split=``: another split, or ``all``, which is also shown where nothing is evaluated on validation.
    """
    project = project_for(request.user, slug, Action.READ)
    rows = project.eval_runs.with_model().order_by("-number")
    default = Split.VALIDATION if rows.filter(split=Split.VALIDATION).exists() else ALL
    split = request.GET.get("split") or str(default)
    if split in (*Split.values, EvalRun.BENCHMARK):
        rows = rows.filter(split=split)
    page = Paginator(rows, LIST_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "split": split,
        "splits": [*Split.choices, (EvalRun.BENCHMARK, "benchmark")],
        "live": any(run.is_live for run in page),
        "has_dataset": project.datasets.exists(),
        "any": page.paginator.count > 0 or project.eval_runs.exists(),
    }
    return page_or_fragment(request, "evaluation/runs/list.html", "runs", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new evaluation. ``?model=run-3&dataset=2&split=holdout`` set initial values; models are run-3,
    version-7, gguf-1-q8_0, base-<slug> and endpoint-5. ``part=price``: the price of what is selected, with its
    confirmation.
    """
    project = project_for(request.user, slug, Action.RUN)
    if request.method != "POST":
        initial = {"split": "validation", "concurrency": 1}
        initial |= {name: request.GET[name] for name in EvaluationForm.base_fields if name in request.GET}
        form = EvaluationForm(project=project, initial=initial)
        page = "evaluation/runs/new.html"
        if is_htmx(request) and request.GET.get("part") == "price":
            page += "#price"
        return render(request, page, {"project": project, "form": form})
    form = EvaluationForm(request.POST, project=project)
    if form.is_valid():
        with FieldErrors(form):
            run = services.start_evaluation(project=project, user=request.user, **form.service_arguments())
            return redirect_to(request, run.get_absolute_url())
    return page_or_fragment(request, "evaluation/runs/new.html", "form", {"project": project, "form": form}, status=422)


def by_decoding_mode(run: EvalRun) -> list[EvalRun]:
    """The newest finished evaluation of each combination, with ``run`` for its own; empty if there is no other."""
    backend = run.backend
    rows: Any = run.project.eval_runs.of_model(backend.key, any_export=True).filter(
        dataset=run.dataset_id, split=run.split, benchmark=run.benchmark, rescored_from=None
    )
    newest: dict[tuple[Any, ...], EvalRun] = {}
    for other in [run, *rows.done().with_model().exclude(pk=run.pk).order_by("-number")[:60]]:
        key = other.backend.key
        if (key.name, key.url) == (backend.key.name, backend.key.url):
            newest.setdefault((other.mode, key.export, other.concurrency), other)
    order = {mode: place for place, mode in enumerate(EvalRun.Mode.values)}
    ordered = sorted(
        newest.values(), key=lambda other: (other.backend.key.export or 0, other.concurrency, order[other.mode])
    )
    return ordered if len(ordered) > 1 else []
