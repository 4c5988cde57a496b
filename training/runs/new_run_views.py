"""The page of a new run: its form, token lengths, estimate, and import of a spec."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, replace_url

from labeling.datasets.ceiling import ceiling_of
from labeling.datasets.queries import OF_TRAINING, dataset_warnings
from labeling.models import DatasetVersion, Project
from slmstudio.access import Action, project_for
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.web.body_limits import takes_files
from slmstudio.web.forms import FieldErrors
from slmstudio.web.requests import SignedInRequest, is_htmx, positive_int
from slmstudio.workers.live_workers import no_worker_message
from training.base_models.downloads import cancel_download, download_of, request_download
from training.base_models.services import fill_catalog
from training.estimates.services import estimate_for, recommended_method
from training.hyperparameters.dataset_defaults import default_hyperparameters, needed_length, train_rows
from training.hyperparameters.definitions import METHODS, Hyperparameters
from training.hyperparameters.presets import TASKS, encoder_preset, preset, task_of
from training.models import BaseModel, TrainingRun
from training.runs import queries, spec_import
from training.runs.checks import early_stopping_problem
from training.runs.curves import spec_of
from training.runs.forms import FIELD_OF, ChoiceForm, NewRunForm, initial_of
from training.runs.run_spec import hyperparameters_of, resolved_spec
from training.runs.services import measure_lengths, start_training

#: settings of the form that are groups of boxes
_GROUPS = ("trackers", "without_heads")


def new_run(request: SignedInRequest, slug: str) -> HttpResponse:
    """The form of a new run; POST starts it."""
    project = project_for(request.user, slug, Action.RUN)
    if request.method == "POST":
        form = NewRunForm(request.POST, project=project)
        if form.is_valid():
            with FieldErrors(form, FIELD_OF):
                run = start_training(
                    project=project,
                    user=request.user,
                    dataset=form.cleaned_data["dataset"],
                    base_model=form.cleaned_data["base_model"],
                    hyperparameters=form.hyperparameters,
                    name=form.cleaned_data["name"],
                )
                address = run.get_absolute_url()
                return HttpResponseClientRedirect(address) if is_htmx(request) else redirect(address)
        return _render_form(request, project, form, status=422)
    return _render_form(request, project, _initial_form(request, project))


def _initial_form(request: SignedInRequest, project: Project) -> NewRunForm:
    """A form with the values of the run to duplicate, of the query string, and of the preset, in this order.

    A setting that still has the value of the preset it was shown with follows when the preset changes, and so does a
    method that the form proposed.
    """
    fill_catalog()
    query = request.GET
    source = queries.run_by_number(project, positive_int(query.get("from")))
    dataset, base_model = queries.inputs_of(
        project, positive_int(query.get("dataset")), query.get("base_model"), source
    )
    method, proposed = query.get("method", ""), ""
    cannot = method == "qlora" and base_model is not None and base_model.is_encoder
    if method not in METHODS or method == query.get("proposed") or cannot:
        method = proposed = "lora"
        if dataset is not None and base_model is not None:
            method, _ = recommended_method(dataset=dataset, base_model=base_model)
            proposed = method
    defaults = (
        default_hyperparameters(dataset=dataset, base_model=base_model, method=method) if dataset else Hyperparameters()
    )
    initial: dict[str, Any] = {"name": "", **initial_of(defaults)}
    if source is not None and not is_htmx(request):
        initial["name"] = source.name
        if spec_of(source) is not None:
            initial |= initial_of(_hyperparameters_of(source))
            proposed = ""
    initial |= _overridden(request, initial)
    choice = {"dataset": dataset.number if dataset else None, "base_model": base_model.slug if base_model else None}
    return NewRunForm(project=project, initial={**initial, **choice, "proposed": proposed})


def _hyperparameters_of(run: TrainingRun) -> Hyperparameters:
    """The hyperparameters that reproduce a run whose spec is readable."""
    spec = spec_of(run)
    assert spec is not None
    return hyperparameters_of(resolved_spec(run, spec))


def _overridden(request: SignedInRequest, initial: dict[str, Any]) -> dict[str, Any]:
    """The values of the query string that differ from the preset that the form was shown with."""
    query, shown = request.GET, _previous_preset(request.GET.get("was", ""))
    if not shown:
        return {}
    overridden: dict[str, Any] = {
        name: query[name]
        for name in initial
        if name in query and name not in ("method", *_GROUPS) and query[name] != str(shown.get(name))
    }
    if "name" in query:  # an unchecked box is not sent
        overridden["activation_checkpointing"] = "activation_checkpointing" in query
        overridden |= {name: query.getlist(name) for name in _GROUPS}
    return overridden


def _previous_preset(key: str) -> dict[str, Any]:
    """The preset that the form was shown with: ``rows:method:sequence length:task:parameters``, the last of encoders
    only; empty for a new form.
    """
    rows, method, limit, task, parameters = [*key.split(":"), "", "", "", "", ""][:5]
    if not (all(number.isdecimal() and len(number) < 13 for number in (rows, limit)) and method in METHODS):
        return {}
    known: Any = task if task in TASKS else "extraction"
    if parameters.isdecimal() and len(parameters) < 13:
        shown = encoder_preset(int(rows), int(parameters), method=method, task=known)
    else:
        shown = preset(int(rows), method, known)
    return initial_of(replace(shown, max_length=int(limit)))


def _preset_key(dataset: DatasetVersion, base_model: BaseModel, defaults: Hyperparameters) -> str:
    task = task_of(dataset.schema_version.compiled.fields)
    parameters = f":{base_model.parameters}" if base_model.is_encoder else ""
    return f"{train_rows(dataset)}:{defaults.method}:{defaults.max_length}:{task}{parameters}"


def _render_form(
    request: SignedInRequest, project: Project, form: NewRunForm, status: int = 200, spec_problems: Sequence[str] = ()
) -> HttpResponse:
    dataset, base_model = form.selected
    context: dict[str, Any] = {
        "project": project,
        "form": form,
        "dataset": dataset,
        "base_model": base_model,
        "no_dataset": queries.newest_dataset(project) is None,
        "spec_problems": spec_problems,
    }
    if dataset is not None:
        ceiling = ceiling_of(dataset)
        context |= {"ceiling": ceiling, "below_ceiling": sum(field.absent > 0 for field in ceiling)}
        context["dataset_warnings"] = dataset_warnings(dataset, OF_TRAINING)
    method = form["method"].value()
    if dataset is not None and base_model is not None:
        lengths_context = _lengths_context(dataset, base_model)
        known = method if method in METHODS else lengths_context["recommended"]
        defaults = default_hyperparameters(dataset=dataset, base_model=base_model, method=known)
        context |= {
            "was": _preset_key(dataset, base_model, defaults),
            "train_rows": train_rows(dataset),
            "task": task_of(dataset.schema_version.compiled.fields),
            **lengths_context,
        }
    template = "training/runs/new.html#form" if is_htmx(request) else "training/runs/new.html"
    response = render(request, template, context, status=status)
    if is_htmx(request) and request.method == "GET" and dataset is not None and base_model is not None:
        address = f"{request.path}?dataset={dataset.number}&base_model={base_model.slug}"
        is_chosen = method in METHODS and not form["proposed"].value()
        return replace_url(response, address + (f"&method={method}" if is_chosen else ""))
    return response


def _lengths_context(dataset: DatasetVersion, base_model: BaseModel) -> dict[str, Any]:
    report = queries.length_report(dataset, base_model)
    known = report is not None and report.is_current
    measurable = report is None or (not known and report.status in (Status.DONE, Status.CANCELLED))
    download_needed = train_rows(dataset) > 0 and not base_model.is_local
    is_missing = measurable and train_rows(dataset) > 0 and not download_needed
    download = download_of(base_model) if download_needed else None
    recommended, reason = recommended_method(dataset=dataset, base_model=base_model)
    return {
        "download_needed": download_needed,
        "download_size": base_model.size_bytes or 2 * base_model.parameters,
        "download": download,
        "download_no_worker": no_worker_message(download.queue_name)
        if download is not None and download.is_live
        else "",
        "report": report,
        "totals": sorted(tokens for _, tokens in report.totals()) if report is not None and known else [],
        "needed": needed_length(report) if report is not None else 0,
        # only measured when the form opens: preparing takes a minute, and starts on request
        "lengths_requested": is_missing and base_model.is_prepared,
        "preparation_needed": is_missing and not base_model.is_prepared,
        "lengths_no_worker": no_worker_message("default") if report is not None and report.is_live else "",
        # the documents of an encoder are read in windows, whatever their lengths are
        "can_start": (known or (base_model.is_encoder and base_model.is_prepared)) and not download_needed,
        "recommended": recommended,
        "recommended_reason": reason,
    }


def lengths(request: SignedInRequest, slug: str) -> HttpResponse:
    """The length report of a dataset and a base model: GET shows it, POST requests its measurement.

    POST with ``?fetch=`` downloads the base model first, or cancels the download with ``stop``.
    """
    project = project_for(request.user, slug, Action.RUN)
    form = ChoiceForm(request.POST if request.method == "POST" else request.GET, project=project)
    context: dict[str, Any] = {"project": project, "swap_start": True, "problem": ""}
    if not form.is_valid():
        context["problem"] = " ".join(str(error) for errors in form.errors.values() for error in errors)
        return render(request, "training/runs/new.html#lengths", context, status=422)
    dataset, base_model = form.cleaned_data["dataset"], form.cleaned_data["base_model"]
    if request.method == "POST":
        try:
            _measure_or_download(request, dataset, base_model)
        except Refused as refusal:
            context["problem"] = refusal.message
            return render(request, "training/runs/new.html#lengths", context, status=422)
    context |= {"dataset": dataset, "base_model": base_model, **_lengths_context(dataset, base_model)}
    return render(request, "training/runs/new.html#lengths", context)


def _measure_or_download(request: SignedInRequest, dataset: DatasetVersion, base_model: BaseModel) -> None:
    match request.GET.get("fetch"):
        case None:
            measure_lengths(dataset=dataset, base_model=base_model, user=request.user)
        case "stop":
            cancel_download(base_model)
        case _ if not base_model.is_local:
            request_download(base_model=base_model, user=request.user)


# -- estimate -------------------------------------------------------------------------------------------------------


@require_safe
def estimate(request: SignedInRequest, slug: str) -> HttpResponse:
    """The estimate of a run with these hyperparameters, and a message at each hyperparameter that must change."""
    project = project_for(request.user, slug, Action.RUN)
    form = NewRunForm(request.GET, project=project)
    context: dict[str, Any] = {"project": project, "form": form, "field_names": form.field_names}
    if not form.is_valid():
        # An invalid value is shown at its field right away, not only when the run is started.
        invalid = {name: errors[0] for name, errors in form.errors.items() if request.GET.get(name)}
        context["field_messages"] = {name: {"text": text} for name, text in invalid.items()}
        return render(request, "training/runs/estimate.html", context)
    inputs: dict[str, Any] = {
        "dataset": form.cleaned_data["dataset"],
        "base_model": form.cleaned_data["base_model"],
        "hyperparameters": form.hyperparameters,
    }
    result = estimate_for(**inputs)
    field_messages: dict[str, Any] = {}
    context |= {"estimate": result, "field_messages": field_messages}
    if result is not None:
        for name, text in result.problems.items():
            field_messages[FIELD_OF.get(name, name)] = {"text": text, "value": result.suggestions.get(name)}
    if problem := early_stopping_problem(**inputs):
        field_messages["early_stopping"] = {"text": problem}
    return render(request, "training/runs/estimate.html", context)


# -- import of a spec -----------------------------------------------------------------------------------------------


@takes_files(2**20, "django.core.files.uploadhandler.MemoryFileUploadHandler")
@require_POST
def from_spec(request: SignedInRequest, slug: str) -> HttpResponse:
    """Fills in the form from a RunSpec in YAML. Starts nothing."""
    project = project_for(request.user, slug, Action.RUN)
    file = request.FILES.get("spec")
    try:
        dataset, base_model, hyperparameters = spec_import.import_spec(project=project, text=_uploaded_text(file))
    except Refused as refusal:
        problems = list(refusal.errors.values())
        return _render_form(request, project, _initial_form(request, project), status=422, spec_problems=problems)
    values = initial_of(hyperparameters)
    groups, checkpointing = {name: values.pop(name) for name in _GROUPS}, values.pop("activation_checkpointing")
    values |= {"dataset": dataset.number, "base_model": base_model.slug, "name": ""}
    if checkpointing:
        values["activation_checkpointing"] = "on"
    defaults = default_hyperparameters(dataset=dataset, base_model=base_model, method=hyperparameters.method)
    values["was"] = _preset_key(dataset, base_model, defaults)
    query = urlencode([*values.items(), *((name, item) for name, items in groups.items() for item in items)])
    messages.info(request, "Form filled in from the file. Check the values, then start the run.")
    return redirect(f"{reverse('training_new', args=[project.slug])}?{query}")


def _uploaded_text(file: "UploadedFile[bytes] | None") -> str:
    if file is None:
        raise Refused("Choose a YAML file first.", field="spec")
    if (file.size or 0) > spec_import.MAX_LENGTH:
        raise Refused(f"The file has more than {spec_import.MAX_LENGTH:,} bytes.", field="spec")
    try:
        return bytes(file.read()).decode()
    except UnicodeDecodeError as error:
        raise Refused("The file is not UTF-8 text.", field="spec") from error
