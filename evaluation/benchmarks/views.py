"""Benchmarks: their list, a new one, and the page of one."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.http import require_http_methods, require_safe

from evaluation.benchmarks import results
from evaluation.benchmarks import services as service
from evaluation.benchmarks.forms import BenchmarkForm
from evaluation.http import set_project
from evaluation.models import Benchmark, EvalRun
from labeling.models import Project
from slmstudio.access import Action, project_for
from slmstudio.runs.models import Status
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, query_param, redirect_to

PAGE = 20


@require_safe
def benchmarks(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every benchmark of the project, newest first, with what it recommends."""
    project = project_for(request.user, slug, Action.READ)
    page = Paginator(results.benchmarks_of(project), PAGE).get_page(request.GET.get("page"))
    for row in page:
        _show_progress(row, list(row.runs.all()))
    context: dict[str, Any] = {"project": project, "page": page, "live": any(row.is_live for row in page)}
    if not is_htmx(request):
        context["stock"] = service.available_documents(project)
        context["least"] = service.MIN_DOCUMENTS
    return page_or_fragment(request, "evaluation/benchmarks/list.html", "rows", context)


def _show_progress(row: Benchmark, runs: list[EvalRun]) -> None:
    """Puts the progress of its runs into the row that is shown."""
    if not row.is_live:
        return
    row.progress_done = sum(run.progress_done for run in runs)
    working = next((run for run in runs if run.status == Status.RUNNING), None)
    trainings = (run.training_run for run in runs if run.training_run is not None)
    training = next((training for training in trainings if training.is_live), None)
    if row.cancel_requested:
        row.stage = "stopping"
    elif working is not None:
        mode = f", {working.get_mode_display().lower()}" if working.backend.decodes else ""
        row.stage = f"{working.model_label}{mode}: {working.stage}"
    elif training is not None:
        row.stage = f"training run {training.number}: {training.stage or training.get_status_display().lower()}"


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new benchmark. ``?models=slug`` (several times) ticks models beforehand."""
    project = project_for(request.user, slug, Action.RUN)
    stock = service.available_documents(project)
    if request.method != "POST":
        form = BenchmarkForm(project=project, stock=stock, wanted=request.GET.getlist("models"))
        return render(request, "evaluation/benchmarks/new.html", _new_context(project, stock, form))
    form = BenchmarkForm(request.POST, project=project, stock=stock)
    if form.is_valid():
        with FieldErrors(form):
            made = service.start_benchmark(project=project, user=request.user, **form.service_arguments())
            return redirect_to(request, made.get_absolute_url())
    context = _new_context(project, stock, form)
    return page_or_fragment(request, "evaluation/benchmarks/new.html", "form", context, status=422)


def _new_context(project: Project, stock: service.AvailableDocuments, form: BenchmarkForm) -> dict[str, Any]:
    return {"project": project, "stock": stock, "form": form, "least": service.MIN_DOCUMENTS}


@require_safe
def benchmark(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One benchmark: progress while it is live, then the models side by side with what is recommended."""
    project = project_for(request.user, slug, Action.READ)
    row = get_object_or_404(project.benchmarks.select_related("dataset__schema_version", "created_by"), number=number)
    set_project(project, row.dataset)
    was_live = row.is_live
    runs = list(row.runs.with_model().order_by("number"))
    set_project(project, *runs)
    _show_progress(row, runs)
    context: dict[str, Any] = {"project": project, "benchmark": row, "seen": " ".join(run.status for run in runs)}
    if is_htmx(request):
        return _progress(request, context, runs, was_live=was_live)
    done = [run for run in runs if run.status == Status.DONE]
    context |= _table(row, runs) | {"done": done}
    context["matrix"] = results.matrix(row, done)
    context["errors"] = results.errors(done)
    items = row.dataset.items.filter(document__in=row.documents)
    context["counts"] = _counts(items.values_list("split", "origin"))
    return render(request, "evaluation/benchmarks/benchmark.html", context)


def _table(row: Benchmark, runs: list[EvalRun]) -> dict[str, Any]:
    """The context of the table of models, and of the recommendation."""
    recommended = next((run for run in runs if run.number == row.result.get("run")), None)
    return {
        "rows": results.rows(row, runs),
        "limits": results.limits(row),
        "recommended": recommended,
        "on_holdout": _on_holdout(recommended) if row.result.get("unproven") else None,
    }


def _on_holdout(run: EvalRun | None) -> EvalRun | None:
    """The newest finished evaluation of the same model version on the hold-out."""
    if run is None or run.model_version is None:
        return None
    runs = run.model_version.eval_runs.on_holdout().filter(status=Status.DONE)
    return runs.select_related("project").order_by("-number").first()


def _progress(
    request: SignedInRequest, context: dict[str, Any], runs: list[EvalRun], *, was_live: bool
) -> HttpResponse:
    """The progress of a live benchmark; with the table if an evaluation started or ended since the last request."""
    row = context["benchmark"]
    if not was_live:
        return HttpResponse(headers={"HX-Refresh": "true"})
    parts = ["words", "bar"]
    if query_param(request, "seen") != context["seen"]:
        parts.append("table")
        context |= _table(row, runs)
    context["out_of_band"] = True
    return HttpResponse(
        "".join(render_to_string(f"evaluation/benchmarks/benchmark.html#{part}", context, request) for part in parts)
    )


def _counts(items: Any) -> dict[str, int]:
    """Documents by split and by origin of their label."""
    counts: dict[str, int] = {}
    for split, origin in items:
        counts[split] = counts.get(split, 0) + 1
        counts[origin] = counts.get(origin, 0) + 1
    return counts
