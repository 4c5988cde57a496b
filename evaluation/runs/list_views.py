"""The list of evaluations; start, cancel and resume one."""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_safe

from evaluation.models import EvalRun
from evaluation.runs import services
from evaluation.runs.forms import EvaluationForm
from labeling.models import DatasetVersion, Split
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to

PAGE = 30
ALL = "all"


@require_safe
def evaluations(request: SignedInRequest, slug: str) -> HttpResponse:
    """The evaluations of a split, newest first, to select some for a comparison: on validation, which candidates are
    chosen on. ``?split=``: another split, or ``all``, which is also shown where nothing is evaluated on validation.
    """
    project = project_for(request.user, slug, Action.READ)
    rows = EvalRun.objects.filter(project=project).with_model().order_by("-number")
    default = Split.VALIDATION if rows.filter(split=Split.VALIDATION).exists() else ALL
    split = request.GET.get("split") or str(default)
    if split in (*Split.values, EvalRun.BENCHMARK):
        rows = rows.filter(split=split)
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "split": split,
        "splits": [*Split.choices, (EvalRun.BENCHMARK, "benchmark")],
        "live": any(run.is_live for run in page),
        "has_dataset": DatasetVersion.objects.filter(project=project).exists(),
        "any": page.paginator.count > 0 or EvalRun.objects.filter(project=project).exists(),
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
        initial = {"split": "validation", "mode": "constrained", "at_once": 1}
        initial |= {name: request.GET[name] for name in EvaluationForm.base_fields if name in request.GET}
        form = EvaluationForm(project=project, initial=initial)
        page = "evaluation/runs/new.html"
        if is_htmx(request) and request.GET.get("part") == "price":
            page += "#price"
        return render(request, page, {"project": project, "form": form})
    form = EvaluationForm(request.POST, project=project)
    if form.is_valid():
        try:
            run = services.start_evaluation(project=project, user=request.user, **form.service_arguments())
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return redirect_to(request, run.get_absolute_url())
    return page_or_fragment(request, "evaluation/runs/new.html", "form", {"project": project, "form": form}, status=422)
