"""The list of searches, the form of a new one, and the page of a search."""

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from labeling.datasets.warnings import OF_SEARCH, dataset_warnings
from labeling.models import DatasetVersion, Project
from slmstudio.access import Action, object_for, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.web.body_limits import takes_files
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int
from slmstudio.workers.warnings import no_worker_message
from training.base_models.services import fill_catalog
from training.estimates.advice import recommendation
from training.models import BaseModel, Search, Trial
from training.runs import queries
from training.runs.services import measure_lengths
from training.runs.spec_import import MAX_LENGTH
from training.search import services
from training.search.chart import ChartTrial, parallel_coordinates
from training.search.forms import SearchForm, initial_of
from training.search.spec import SearchSpec

_SEARCHES = Search.objects.select_related("project", "dataset", "base_model", "created_by")


@require_safe
def searches(request: SignedInRequest, slug: str) -> HttpResponse:
    """The project's searches, newest first."""
    project = project_for(request.user, slug, Action.READ)
    page = Paginator(Search.objects.of_project(project), 30).get_page(request.GET.get("page"))
    trials: dict[Any, list[Trial]] = {search.pk: [] for search in page}
    for trial in Trial.objects.filter(search__in=list(trials)):
        trials[trial.search_id].append(trial)
    rows = [(search, len(trials[search.pk]), services.best_trial(trials[search.pk])) for search in page]
    return render(request, "training/search/list.html", {"project": project, "page": page, "rows": rows})


@takes_files(2**20, "django.core.files.uploadhandler.MemoryFileUploadHandler")
def new_search(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new search; POST starts it, or fills in the form from a YAML file."""
    project = project_for(request.user, slug, Action.RUN)
    if request.method != "POST":
        return _render_form(request, project, SearchForm(project=project, initial=_initial(request, project)))
    if (file := request.FILES.get("spec")) is not None:
        try:
            spec = services.read_spec(file.read(MAX_LENGTH + 1).decode("utf-8", "replace"))
        except Refused as refusal:
            form = SearchForm(project=project, initial=_initial(request, project))
            return _render_form(request, project, form, 422, spec_problem=refusal.message)
        return _render_form(request, project, SearchForm(project=project, initial={"name": "", **initial_of(spec)}))
    form = SearchForm(request.POST, project=project)
    if form.is_valid():
        try:
            search = services.start_search(
                project=project, user=request.user, spec=form.spec, name=form.cleaned_data["name"]
            )
        except Refused as refusal:
            form.add_errors(_after_measuring(request, form, refusal))
        else:
            return redirect(search.get_absolute_url())
    return _render_form(request, project, form, 422)


def _after_measuring(request: SignedInRequest, form: SearchForm, refusal: Refused) -> dict[str, str]:
    """The messages of a rejected search; where only token lengths are missing, they are requested."""
    if refusal.code != "lengths_unknown":
        return refusal.errors
    data = form.cleaned_data
    try:
        measure_lengths(dataset=data["dataset"], base_model=data["base_model"], user=request.user)
    except Refused as other:
        return other.errors
    text = "The token lengths of this dataset under this base model are being measured now. Start again in a minute."
    return {"dataset": text}


def _initial(request: SignedInRequest, project: Project) -> dict[str, Any]:
    """The values of an earlier search (``?from=``), else the defaults with the newest dataset."""
    fill_catalog()
    source = Search.objects.filter(project=project, number=positive_int(request.GET.get("from"))).first()
    if source is not None:
        return {"name": source.name, **initial_of(services.spec_of(source))}
    if "base_model" in request.GET:
        return _following(request.GET, project)
    return {"name": "", **_defaults(queries.newest_dataset(project), BaseModel.objects.default())}


def _defaults(dataset: DatasetVersion | None, base_model: BaseModel | None) -> dict[str, Any]:
    """The values of the form where only the dataset and the base model are chosen."""
    spec = SearchSpec(
        dataset=dataset.number if dataset else 1, base_model=base_model.slug if base_model else "", hours=4.0
    )
    if dataset is not None and base_model is not None:
        spec = replace(spec, space=services.default_space(dataset, base_model))
    return initial_of(spec)


def _following(sent: QueryDict, project: Project) -> dict[str, Any]:
    """The values of a form whose dataset or base model changed: of the values to try, those that were still the
    defaults of the former choice (``defaults_of``) become those of the new one.
    """
    form = SearchForm(sent, project=project)
    number, _, slug = sent.get("defaults_of", "").partition(" ")
    former = SearchForm({"dataset": number, "base_model": slug}, project=project)
    before, after = _defaults(*former.selected), _defaults(*form.selected)

    def is_kept(name: str) -> bool:
        if name in (*SearchForm.SPACE, "method"):
            return bool(form[name].value()) and str(form[name].value()) != str(before[name])
        return name in sent

    return {"name": "", **after, **{name: form[name].value() for name in form.fields if is_kept(name)}}


def _render_form(
    request: SignedInRequest, project: Project, form: SearchForm, status: int = 200, spec_problem: str = ""
) -> HttpResponse:
    dataset, base_model = form.selected
    recommended = recommendation(dataset=dataset, base_model=base_model) if dataset and base_model else None
    context = {
        "project": project,
        "form": form,
        "defaults_of": f"{dataset.number} {base_model.slug}" if dataset and base_model else "",
        "spec_problem": spec_problem,
        "no_dataset": queries.newest_dataset(project) is None,
        "dataset_warnings": dataset_warnings(dataset, OF_SEARCH) if dataset else [],
        "reason": recommended.reason if recommended and form["method"].value() == [recommended.method] else "",
        "hints": {
            "hours": "Total GPU hours of all trials. They count toward the project's quota.",
            "trials": "The first trial uses the preset's values.",
            "parallel": "As many as there are workers for the queue gpu.",
            "documents": "Validation documents. Use 50 or more for a reliable choice.",
            "seconds": "Documents that are not scored in time at a trial's first evaluation are excluded from that "
            "trial.",
            "seed": "Used by the sampler and by every trial.",
            "keep": "The models of the best trials are kept. All other weights are deleted when the search ends.",
            "learning_rate_high": "Sampled on a logarithmic scale.",
            "lora_r": "Alpha is twice the rank. Not used by full fine-tuning.",
            "batch": "Documents per optimizer step.",
        },
    }
    return render(request, "training/search/new.html", context, status=status)


@require_safe
def search_page(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """A search: budget, best trial, chart and table of trials. Refreshed while it is live."""
    project, search = object_for(request.user, slug, Action.READ, _SEARCHES, number=number)
    if is_htmx(request) and not search.is_live:
        return HttpResponseClientRefresh()  # the whole page changes when a search ends
    spec = services.spec_of(search)
    trials = list(search.trials.select_related("run").prefetch_related("run__model_versions").order_by("number"))
    best, hours = services.best_trial(trials), services.used_hours(search, trials)
    versions = [trial.run.model_version for trial in trials if trial.run is not None]
    deleted = [one.weights_deleted_at is not None for one in versions if one is not None]
    order = request.GET.get("order")
    shown = sorted(trials, key=_score, reverse=True) if order == "score" else trials
    context = {
        "project": project,
        "search": search,
        "spec": spec,
        "trials": [(trial, _score(trial)) for trial in shown],
        "order": order if order == "score" else "",
        "best": best,
        "hours": hours,
        "hours_percent": min(100, round(100 * hours / spec.hours)),
        "counts": {state.value: sum(trial.state == state for trial in trials) for state in Trial.State},
        "chart": parallel_coordinates(spec.space, _chart_trials(trials), best.number if best else None),
        "models": {"kept": deleted.count(False), "deleted": deleted.count(True)},
        "no_worker": no_worker_message("gpu") if search.status == Status.RUNNING else "",
    }
    part = "training/search/search.html#body" if is_htmx(request) else "training/search/search.html"
    return render(request, part, context)


def _score(trial: Trial) -> float:
    """Field accuracy of a trial: the final one, else the newest; below zero without any."""
    if trial.value is not None:
        return trial.value
    return float(trial.values[-1]) if trial.values else -1.0


def _chart_trials(trials: list[Trial]) -> list[ChartTrial]:
    pruned = Trial.State.PRUNED
    shown = [trial for trial in trials if trial.value is not None or (trial.state == pruned and trial.values)]
    return [ChartTrial(one.number, one.parameters, _score(one), one.state == pruned) for one in shown]


@require_POST
def stop_search(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """Stops a search; nothing happens where it has already ended."""
    _, search = object_for(request.user, slug, Action.RUN, Search, number=number)
    if services.stop(search=search, user=request.user):
        messages.success(request, "The search is cancelled. The model of the best trial is kept.")
    return HttpResponseClientRefresh() if is_htmx(request) else redirect(search.get_absolute_url())


@require_safe
def search_spec(request: SignedInRequest, slug: str, number: int) -> HttpResponse:
    """The SearchSpec of a search as YAML."""
    project, search = object_for(request.user, slug, Action.READ, Search, number=number)
    response = HttpResponse(search.spec, content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-search-{search.number}.yaml"'
    return response
