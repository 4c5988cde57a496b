"""The list of evaluations, and starting and cancelling one."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.http import go, page_or_part
from evaluation.models import EvalRun
from evaluation.pipeline.services import newest_loop
from evaluation.runs import services
from evaluation.runs.forms import EvaluationForm
from labeling.models import Split
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest

PAGE = 30


@require_safe
def evaluations(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every evaluation of the project, newest first; two of them can be chosen to compare."""
    project = project_for(request.user, slug, Action.READ)
    rows: Any = EvalRun.objects.filter(project=project).with_subject().order_by("-number")
    split = request.GET.get("split", "")
    if split in (*Split.values, EvalRun.BENCHMARK):
        rows = rows.filter(split=split)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "split": split,
        "splits": [*Split.choices, (EvalRun.BENCHMARK, "benchmark")],
        "live": any(run.is_live for run in page),
        "any": page.paginator.count > 0 or EvalRun.objects.filter(project=project).exists(),
    }
    return page_or_part(request, "evaluation/runs/list.html", "runs", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new evaluation. ``?model=run-3&dataset=2&split=holdout`` fill it in beforehand; models are run-3,
    gguf-1-q8_0, base-<slug> and endpoint-5.
    """
    project = project_for(request.user, slug, Action.RUN)
    if request.method != "POST":
        wanted = {name: request.GET[name] for name in EvaluationForm.base_fields if name in request.GET}
        usual = {"split": "validation", "mode": "constrained", "at_once": 1}
        form = EvaluationForm(project=project, initial={**usual, **wanted})
        return render(request, "evaluation/runs/new.html", {"project": project, "form": form})
    form = EvaluationForm(request.POST, project=project)
    if form.is_valid():
        try:
            run = services.start_evaluation(project=project, user=request.user, **form.order())
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return go(request, run.get_absolute_url())
    return page_or_part(request, "evaluation/runs/new.html", "form", {"project": project, "form": form}, status=422)


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Cancels an evaluation that waits or runs."""
    project, run = object_for(request.user, slug, Action.RUN, EvalRun, number=number)
    if not services.cancel(run=run, user=request.user):
        messages.info(request, f"Evaluation {run.number} had ended already.")
    return redirect("eval_run", project.slug, run.number)


@require_POST
def go_on(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Takes up an evaluation over an endpoint that failed, with what was answered until then."""
    project, run = object_for(request.user, slug, Action.RUN, EvalRun, number=number)
    try:
        services.go_on(run=run, user=request.user)
    except Refused as refusal:
        messages.error(request, refusal.message)
    return redirect("eval_run", project.slug, run.number)


@require_safe
def loop(request: SignedInRequest, slug: str) -> HttpResponse:
    """The panel of the newest loop by itself, which asks for itself while the loop is live."""
    project = project_for(request.user, slug, Action.READ)
    context = newest_loop(project)
    return render(request, "evaluation/runs/loop_panel.html", context) if context else HttpResponse(status=204)
