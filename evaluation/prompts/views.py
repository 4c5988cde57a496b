"""Prompt searches: a new one, and the page of one."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from evaluation.http import set_project
from evaluation.models import PromptSearch
from evaluation.prompts import services
from evaluation.prompts.forms import PromptSearchForm
from labeling.datasets.warnings import FEW, dataset_warnings
from labeling.models import Document, Split
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.web.requests import SignedInRequest, is_htmx, page_or_fragment, redirect_to
from training.runs.queries import newest_dataset


@require_http_methods(["GET", "HEAD", "POST"])
def new(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a prompt search on the newest dataset version."""
    project = project_for(request.user, slug, Action.RUN)
    dataset = newest_dataset(project)
    data = request.POST if request.method == "POST" else None
    form = PromptSearchForm(data, project=project, initial={"model": request.GET.get("model", "")})
    if dataset is not None and form.is_valid():
        try:
            made = services.start_search(
                project=project, user=request.user, dataset=dataset, **form.service_arguments()
            )
        except Refused as refusal:
            form.add_error(refusal.field if refusal.field in form.fields else None, refusal.message)
        else:
            return redirect_to(request, made.get_absolute_url())
    warnings = dataset_warnings(dataset, {Split.VALIDATION: FEW}) if dataset is not None else []
    context = {"project": project, "form": form, "dataset": dataset, "dataset_warnings": warnings}
    status = 422 if form.errors else 200
    return page_or_fragment(request, "evaluation/prompts/new.html", "form", context, status=status)


@require_safe
def prompt_search(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """One search: its trials, and the prompt that it kept."""
    rows = PromptSearch.objects.select_related("project", "dataset", "base_model", "endpoint", "created_by")
    project, found = object_for(request.user, slug, Action.READ, rows, number=number)
    set_project(project, found.dataset)
    if is_htmx(request) and not found.is_live:  # the head changes, too
        return HttpResponse(headers={"HX-Refresh": "true"})
    names = dict(Document.objects.filter(pk__in=found.examples).values_list("pk", "external_id"))
    accuracies = [trial["accuracy"] for trial in found.trials]
    context: dict[str, Any] = {
        "project": project,
        "search": found,
        "examples": [names[key] for key in found.examples if key in names],
        "best": accuracies.index(max(accuracies)) + 1 if accuracies else 0,
    }
    return page_or_fragment(request, "evaluation/prompts/prompt_search.html", "live", context)


@require_POST
def cancel(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Cancels a search; its trials are kept."""
    project, found = object_for(request.user, slug, Action.RUN, PromptSearch, number=number)
    if not services.cancel(run=found, user=request.user):
        messages.info(request, f"Prompt search {found.number} has already ended.")
    return redirect("prompt_search", project.slug, found.number)
