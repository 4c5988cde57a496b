"""Pages of pre-labels: the list of runs and endpoints, a new run, and one run."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_http_methods, require_safe

from evaluation.inference.completion import STATUS_LABELS, ResponseStatus
from evaluation.models import PrelabelRun
from evaluation.prelabels import services
from evaluation.prelabels.forms import PrelabelForm
from labeling.review import queries as review_queries
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, query_param, redirect_to

PAGE = 30


@require_safe
def prelabel_list(request: SignedInRequest, slug: str) -> HttpResponse:
    """Every run of the project, newest first, its endpoints, and the measured automation bias."""
    project = project_for(request.user, slug, Action.READ)
    rows = project.prelabel_runs.with_model().order_by("-number")
    page = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    endpoints = list(project.endpoints.in_use(project))
    context = {
        "project": project,
        "page": page,
        "live": any(run.is_live for run in page),
        "endpoints": endpoints,
        "any": bool(endpoints) or page.paginator.count > 0,
    }
    if not is_htmx(request):
        context["everybody"] = review_queries.project_automation_bias(project).overall
    return page_or_fragment(request, "evaluation/prelabels/list.html", "runs", context)


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new run. ``?query=`` selects a list of documents, ``?model=version-2`` the model."""
    project = project_for(request.user, slug, Action.RUN)
    if request.method != "POST":
        wanted = {name: query_param(request, name) for name in ("model",) if name in request.GET}
        wanted["query"] = request.GET.get("query", "").replace("\0", "")[:2000]
        form = PrelabelForm(project=project, initial={"limit": 200, "examples": 0, **wanted})
        return render(request, "evaluation/prelabels/new.html", _new_context(project, form))
    form = PrelabelForm(request.POST, project=project)
    if form.is_valid():
        try:
            run = services.start_prelabels(project=project, user=request.user, **form.service_arguments())
        except Refused as refusal:
            visible = refusal.field in form.fields and refusal.field != "query"
            form.add_error(refusal.field if visible else None, refusal.message)
        else:
            return redirect_to(request, run.get_absolute_url())
    return page_or_fragment(request, "evaluation/prelabels/new.html", "form", _new_context(project, form), status=422)


def _new_context(project: Any, form: PrelabelForm) -> dict[str, Any]:
    """The form, and how many documents are selected, or why they cannot be counted."""
    context: dict[str, Any] = {"project": project, "form": form}
    try:
        selection = services.select_documents(project=project, query=form.shown_query)
    except Refused as refusal:
        return {**context, "problem": refusal.message}
    # Counted up to the maximum of a run.
    count = selection.rows[: services.MAX_DOCUMENTS + 1].count()
    return {
        **context,
        "words": selection.description,
        "count": min(count, services.MAX_DOCUMENTS),
        "more": count > services.MAX_DOCUMENTS,
    }


@require_safe
def run(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One run: progress while it is live, the results, and its documents."""
    project = project_for(request.user, slug, Action.READ)
    row = get_object_or_404(project.prelabel_runs.with_model(), number=number)
    if is_htmx(request) and request.GET.get("part") == "live":
        if not row.is_live:
            return HttpResponse(headers={"HX-Refresh": "true"})
        context = {"project": project, "run": row, "figures": services.run_statistics(row)}
        return render(request, "evaluation/prelabels/run.html#live", context)
    context = {"project": project, "run": row, "figures": services.run_statistics(row), **_items(request, row)}
    if is_htmx(request):
        return render(request, "evaluation/prelabels/run.html#items", context)
    return render(request, "evaluation/prelabels/run.html", context)


def _items(request: SignedInRequest, row: PrelabelRun) -> dict[str, Any]:
    """The documents of a run, filtered by the status in the query string."""
    outcome = query_param(request, "outcome")
    rows = services.items_of(row).select_related("document").defer("document__text", "document__metadata")
    if outcome in set(ResponseStatus):
        rows = rows.filter(outcome=outcome)
    else:
        outcome = ""
        rows = rows.exclude(outcome__in=[ResponseStatus.WAITING])
    return {
        "page": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "outcome": outcome,
        "outcome_words": STATUS_LABELS[ResponseStatus(outcome)] if outcome else "",
    }
